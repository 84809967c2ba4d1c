/** Reads a range of a pack into memory, and its header along with it where the range holds that. */
import { CorruptionError } from "../../errors.ts";
import type { Storage } from "../../storage/index.ts";
import { packHeaderBytes } from "../format/index.ts";
import type { PackSecrets } from "./pack-secrets.ts";

export interface PackRangeContext {
  readonly storage: Storage;
  readonly secrets: PackSecrets;
  readonly signal?: AbortSignal | undefined;
}

/** @returns false when the pack is missing, cut short or not ours: other places are tried then */
export async function readPackRange(
  { storage, secrets, signal }: PackRangeContext,
  pack: string,
  offset: number,
  into: Uint8Array,
): Promise<boolean> {
  try {
    const range = { offset, length: into.length };
    const bytes = await storage.get("data", pack, range, { signal, into });
    if (bytes === undefined) return false;
    if (offset === 0 && !secrets.has(pack)) secrets.open(pack, into.subarray(0, packHeaderBytes));
    return (await secrets.get(pack)) !== undefined;
  } catch (error) {
    if (error instanceof CorruptionError) return false;
    throw error;
  }
}
