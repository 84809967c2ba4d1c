/** Hook objects in index/: sealed so that only a full key reads which blocks are alike (R22). */
import { createHash } from "node:crypto";
import { toHex } from "../../bytes.ts";
import { openObject, sealObject, type FullKeys, type Random } from "../../crypto/index.ts";
import { CorruptionError } from "../../errors.ts";
import type { Storage } from "../../storage/index.ts";
import { decodeHooks, encodeHooks, type HookList } from "../format/index.ts";

export interface HookObjectContext {
  readonly storage: Storage;
  readonly keys: FullKeys;
  readonly repoId: Uint8Array;
  readonly random: Random;
  readonly signal?: AbortSignal | undefined;
}

export async function putHooks(context: HookObjectContext, list: HookList): Promise<void> {
  const { storage, keys, repoId, random, signal } = context;
  const key = { algorithm: "box", publicKey: keys.treeBoxPublic } as const;
  const { generation } = keys;
  const stored = sealObject("hooks", encodeHooks(list), key, { repoId, generation, random });
  const name = toHex(createHash("sha256").update(stored).digest());
  await storage.put("index", name, [stored], { signal });
}

/** @returns undefined when it is gone, or cannot be opened: hooks only propose, so none are missed */
export async function getHooks(
  { storage, keys, repoId, signal }: HookObjectContext,
  name: string,
): Promise<HookList | undefined> {
  const stored = await storage.get("index", name, undefined, { signal });
  if (stored === undefined) return undefined;
  const { treeBoxPublic: publicKey, treeBoxSecret: secretKey } = keys;
  try {
    const key = { algorithm: "box", publicKey, secretKey } as const;
    return decodeHooks(openObject("hooks", stored, key, { repoId }));
  } catch (error) {
    if (error instanceof CorruptionError) return undefined;
    throw error;
  }
}
