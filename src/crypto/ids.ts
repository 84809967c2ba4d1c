import { assert } from "../errors.ts";
import { blake3 } from "./blake3.ts";
import type { BackupKeys } from "./keys.ts";
import type { BlobClass } from "./kinds.ts";

export interface IdHasher {
  /** The blob id: 32 bytes, owned by the caller. `plain` may lie in shared or WASM memory. */
  id(cls: BlobClass, plain: Uint8Array): Uint8Array;
}

/**
 * Blob ids: the keyed BLAKE3 of the plain content, under a key for each class, so that a guest's
 * file that equals a tree node never has the node's id (R18).
 */
export function createIdHasher(keys: Pick<BackupKeys, "dataIdKey" | "treeIdKey">): IdHasher {
  assert(keys.dataIdKey.length === 32 && keys.treeIdKey.length === 32, "an id key is 32 bytes");
  const { dataIdKey, treeIdKey } = keys;
  const hash = blake3();
  return { id: (cls, plain) => hash.keyed(cls === "data" ? dataIdKey : treeIdKey, plain) };
}
