/**
 * What a sealed object is. The number is mixed into every key, commitment and signature, so that an
 * object of one kind never opens as another. Numbers are never re-used.
 */
export const objectKind = {
  dataPack: 1,
  treePack: 2,
  index: 3,
  snapshot: 4,
  session: 5,
  mark: 6,
  verdict: 7,
  census: 8,
  forget: 9,
  card: 10,
  amendment: 11,
  settings: 12,
  hooks: 13,
  localCache: 14,
  slot: 15,
} as const;

export type ObjectKindName = keyof typeof objectKind;

/** Chunks, or nodes of trees and maps: each class has its own id key, box key pair and packs. */
export type BlobClass = "data" | "tree";

export function packKind(cls: BlobClass): ObjectKindName {
  return cls === "data" ? "dataPack" : "treePack";
}

/** The class as it stands in associated data, footers and index objects. */
export function blobClassByte(cls: BlobClass): 0 | 1 {
  return cls === "data" ? 0 : 1;
}
