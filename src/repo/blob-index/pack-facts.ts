/** What follows from an indexed pack: where its blobs begin, whose deltas have which bases. */
import { createHash } from "node:crypto";
import { packHeaderBytes, type IndexedPack } from "../format/index.ts";

export const factsBytes = 16;

/** Blobs lie back to back behind the header. */
export function blobOffsets(pack: IndexedPack): Uint32Array {
  const offsets = new Uint32Array(pack.count);
  let offset = packHeaderBytes;
  for (let ordinal = 0; ordinal < pack.count; ordinal++) {
    offsets[ordinal] = offset;
    offset += pack.sealedLengths[ordinal]!;
  }
  return offsets;
}

/** Where in `pack.bases`, which are sorted by ordinal, those of a blob begin; `pack.bases.length` if none. */
export function firstBaseAt(pack: IndexedPack, ordinal: number): number {
  let low = 0;
  let high = pack.bases.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (pack.bases[middle]!.ordinal < ordinal) low = middle + 1;
    else high = middle;
  }
  return low;
}

export function blobBases(pack: IndexedPack, ordinal: number): Uint8Array[] {
  const prefixes: Uint8Array[] = [];
  for (let at = firstBaseAt(pack, ordinal); pack.bases[at]?.ordinal === ordinal; at++)
    prefixes.push(pack.bases[at]!.prefix);
  return prefixes;
}

/**
 * A digest of all that is claimed of a pack. Two index objects that contradict each other about one
 * pack have two digests: neither hides what the other says, so a stolen host's key cannot make
 * another's chunks unfindable (R14).
 */
export function factsDigest(pack: IndexedPack): Uint8Array {
  const hash = createHash("sha256");
  hash.update(`${pack.cls} ${pack.size} ${pack.count} `).update(pack.ids);
  for (const column of [pack.sealedLengths, pack.plainLengths, pack.forms, pack.depths])
    hash.update(column);
  for (const base of pack.bases) hash.update(`${base.ordinal} `).update(base.prefix);
  return hash.digest().subarray(0, factsBytes);
}
