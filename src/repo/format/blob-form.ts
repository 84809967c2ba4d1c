/** How a blob lies in its pack: facts kept twice, in the pack's footer and in the index. */
import type { BlobClass } from "../../crypto/index.ts";
import { blobPlainBytesMax, deltaBaseCountMax, deltaDepthMax, sealBytes } from "./limits.ts";

export type { BlobClass };

/** 0 the plain bytes, 1 a zstd frame, 2 a zstd frame whose dictionary is other blobs. */
export type BlobForm = 0 | 1 | 2;
export const blobForm = { raw: 0, zstd: 1, delta: 2 } as const;

const classCodes = { data: 0, tree: 1 } as const;

export function classCode(cls: BlobClass): number {
  return classCodes[cls];
}

export function classOfCode(code: number): BlobClass | undefined {
  return code === 0 ? "data" : code === 1 ? "tree" : undefined;
}

export interface BlobFacts {
  readonly sealedLength: number;
  readonly plainLength: number;
  readonly form: BlobForm;
  /** 0 but for deltas: one more than the deepest base's. */
  readonly depth: number;
}

/** What no entry may be, in a footer or in the index. */
export function entryFault(entry: BlobFacts, baseCount: number): string | undefined {
  if (entry.sealedLength < sealBytes) return "is shorter than its seal";
  if (entry.plainLength > blobPlainBytesMax) return "is too long";
  if (entry.form > 2) return "has a form that is not known";
  const isDelta = entry.form === 2;
  if (isDelta !== baseCount > 0 || baseCount > deltaBaseCountMax)
    return "has a wrong count of bases";
  if (isDelta !== entry.depth > 0 || entry.depth > deltaDepthMax) return "has a wrong depth";
  return undefined;
}
