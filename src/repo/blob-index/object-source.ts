/** Fetches objects of index/ and tells what they are: by commitment, before anything is decrypted. */
import { createHash } from "node:crypto";
import { toHex } from "../../bytes.ts";
import { CorruptionError, UnsupportedFormatError, type StoreError } from "../../errors.ts";
import {
  isSealedToBox,
  objectIsKind,
  openObject,
  type BackupKeys,
  type ObjectKindName,
} from "../../crypto/index.ts";
import type { ObjectInfo, Storage } from "../../storage/index.ts";
import { decodeIndexObject, type IndexObject } from "../format/index.ts";

/** Kinds that share index/ with index objects, as append-only storage lets nobody delete there (R8). */
export const protocolKinds = ["mark", "verdict", "census", "forget"] as const;
/** Hooks are told by being sealed to a public key, which nothing else here is. */
export type ProtocolKind = (typeof protocolKinds)[number] | "hooks";

/** Larger than any index object: not fetched. */
const storedBytesMax = 64 * 1024 * 1024;

/** Checks the writer's signature against the hosts that are admitted. @throws {CorruptionError} */
export type VerifySigned = (
  kind: ObjectKindName,
  content: Uint8Array,
) => { writerId: string; body: Uint8Array };

export interface ObjectSourceOptions {
  readonly storage: Storage;
  readonly keys: BackupKeys;
  readonly repoId: Uint8Array;
  readonly verify: VerifySigned;
  readonly signal?: AbortSignal | undefined;
}

export type FetchedObject =
  | {
      readonly state: "index";
      readonly info: ObjectInfo;
      readonly writerId: string;
      readonly object: IndexObject;
    }
  | { readonly state: "protocol"; readonly info: ObjectInfo; readonly kind: ProtocolKind }
  | { readonly state: "vanished"; readonly info: ObjectInfo }
  | { readonly state: "damaged"; readonly info: ObjectInfo; readonly error: StoreError };

export class ObjectSource {
  readonly #options: ObjectSourceOptions;

  constructor(options: ObjectSourceOptions) {
    this.#options = options;
  }

  async list(): Promise<Map<string, ObjectInfo>> {
    const { storage, signal } = this.#options;
    const listed = new Map<string, ObjectInfo>();
    for await (const info of storage.list("index", { signal })) listed.set(info.name, info);
    return listed;
  }

  /** A damaged object is fetched twice: bytes may be hurt on their way. Failures of the storage are thrown. */
  async fetch(info: ObjectInfo): Promise<FetchedObject> {
    const first = await this.#fetchOnce(info);
    return first.state === "damaged" ? await this.#fetchOnce(info) : first;
  }

  async #fetchOnce(info: ObjectInfo): Promise<FetchedObject> {
    const { storage, signal } = this.#options;
    try {
      if (info.size > storedBytesMax)
        throw new CorruptionError(`Cannot open index object ${info.name}: it is too large`);
      const stored = await storage.get("index", info.name, undefined, { signal });
      return stored === undefined ? { state: "vanished", info } : this.#open(info, stored);
    } catch (error) {
      // A newer format's object must not stop an older program's backup: what it names is merely stored again.
      if (error instanceof CorruptionError || error instanceof UnsupportedFormatError)
        return { state: "damaged", info, error };
      throw error;
    }
  }

  #open(info: ObjectInfo, stored: Uint8Array): FetchedObject {
    const { keys, repoId, verify } = this.#options;
    if (toHex(createHash("sha256").update(stored).digest()) !== info.name) {
      throw new CorruptionError(
        `Cannot open index object ${info.name}: its bytes do not have its name`,
      );
    }
    if (isSealedToBox(stored)) return { state: "protocol", info, kind: "hooks" };
    const indexKey = { algorithm: "salt", key: keys.indexKey } as const;
    if (objectIsKind("index", stored, indexKey, { repoId })) {
      const { writerId, body } = verify("index", openObject("index", stored, indexKey, { repoId }));
      return { state: "index", info, writerId, object: decodeIndexObject(body) };
    }
    const sessionKey = { algorithm: "salt", key: keys.sessionKey } as const;
    const kind = protocolKinds.find((name) => objectIsKind(name, stored, sessionKey, { repoId }));
    if (kind !== undefined) return { state: "protocol", info, kind };
    throw new CorruptionError(
      `Cannot open index object ${info.name}: it is of no kind that this repository's keys know`,
    );
  }
}
