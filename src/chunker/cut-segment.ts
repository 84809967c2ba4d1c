/**
 * Where a segment of an image is cut: from the hashes of its 4 KiB blocks to runs of blocks.
 *
 * Cuts lie at multiples of 4 KiB because guests write so: a file in two guests is cut the same way
 * wherever it lies. A segment is cut alone, and within it what follows a cut depends only on the
 * blocks after that cut. So a changed segment may be cut again from any old cut that the change
 * cannot have moved (`settledRuns`), and as soon as a new cut meets an old one behind the last
 * change, the old cuts follow.
 */
import { assert } from "../errors.ts";
import { blockBytes, type BlockHashes } from "./block-hasher.ts";

/** Part of the repository's config: every writer cuts alike. */
export interface ImageCutParams {
  readonly blockBytes: 4096;
  readonly segmentBytes: number;
  readonly minBytes: number;
  readonly averageBytes: number;
  readonly maxBytes: number;
  /** A chunk of at least `minBytes` ends after a block whose value is below this. */
  readonly threshold: number;
  /** A run of at least so many zero blocks, counted inside the segment, is a hole. */
  readonly holeBlocks: number;
}

/** The high bit of a run: its blocks are all zero and stored nowhere. */
export const holeBit = 0x8000;
/** The low 15 bits of a run: its length in blocks. */
export const runCountMask = 0x7fff;

/** Sizes and hole length as measured in docs/decisions/0002-chunkers.md. */
export const defaultImageCutParams: ImageCutParams = {
  blockBytes,
  segmentBytes: 4 * 1024 * 1024,
  minBytes: 32 * 1024,
  averageBytes: 128 * 1024,
  maxBytes: 256 * 1024,
  threshold: imageThreshold(32 * 1024, 128 * 1024, blockBytes),
  holeBlocks: 4,
};

/**
 * The threshold that makes chunks of `averageBytes` where neither holes nor `maxBytes` cut.
 *
 * The first block that may end a chunk is the one that fills `minBytes`; from there on each ends it
 * with probability p, so a chunk has min + 1/p - 1 blocks on average.
 */
export function imageThreshold(minBytes: number, averageBytes: number, block: number): number {
  const tries = (averageBytes - minBytes) / block + 1;
  return Math.min(Math.floor(2 ** 32 / tries), 2 ** 32 - 1);
}

/**
 * Cuts one segment, or the rest of one from an old cut on.
 *
 * @param hashes     of the segment's blocks; a last partial block counts as filled up with zeros
 * @param blockCount at most a segment's; also the least length of `out`
 * @param out        receives a run each chunk or hole: high bit = hole, low 15 bits = blocks
 * @returns how many runs were written; they add up to `blockCount`
 */
export function cutSegment(
  hashes: BlockHashes,
  blockCount: number,
  params: ImageCutParams,
  out: Uint16Array,
): number {
  const { values, zero } = hashes;
  const { threshold, holeBlocks } = params;
  const minBlocks = params.minBytes / blockBytes;
  const maxBlocks = params.maxBytes / blockBytes;
  assert(blockCount * blockBytes <= params.segmentBytes, "blocks of one segment");
  assert(values.length >= blockCount && zero.length >= blockCount, "a hash for each block");
  assert(out.length >= blockCount, "room for a run a block");

  let runCount = 0;
  let start = 0;
  for (let at = 0; at < blockCount;) {
    if (zero[at] === 1) {
      let end = at + 1;
      while (end < blockCount && zero[end] === 1) end++;
      if (end - at >= holeBlocks) {
        if (at > start) out[runCount++] = at - start;
        out[runCount++] = holeBit | (end - at);
        start = at = end;
        continue;
      }
    }
    const value = values[at]!;
    at++;
    const length = at - start;
    if (length >= maxBlocks || (length >= minBlocks && value < threshold)) {
      out[runCount++] = length;
      start = at;
    }
  }
  if (start < blockCount) out[runCount++] = blockCount - start;
  return runCount;
}

/**
 * How many of a segment's first runs stay as they are when no block before `changedBlock` changed.
 *
 * A cut looks ahead only to see whether zeros there make a hole, so it stands once `holeBlocks`
 * blocks after it are the same. Blocks that a segment gained or lost at its end count as changed.
 */
export function settledRuns(runs: Uint16Array, changedBlock: number, holeBlocks: number): number {
  let end = 0;
  let settled = 0;
  for (const run of runs) {
    end += run & runCountMask;
    if (end + holeBlocks > changedBlock) break;
    settled++;
  }
  return settled;
}

/** @throws {RangeError} when no segment can be cut by `params`; they may come from a config */
export function checkImageCutParams(params: ImageCutParams): void {
  const { segmentBytes, minBytes, averageBytes, maxBytes, threshold, holeBlocks } = params;
  const wholeBlocks = [minBytes, averageBytes, maxBytes, segmentBytes].every(
    (bytes) => Number.isSafeInteger(bytes) && bytes > 0 && bytes % blockBytes === 0,
  );
  const ordered = minBytes <= averageBytes && averageBytes <= maxBytes && maxBytes <= segmentBytes;
  if ((params.blockBytes as number) !== blockBytes || !wholeBlocks || !ordered) {
    throw new RangeError(
      "image chunk sizes must be 4 KiB blocks, min <= average <= max <= segment",
    );
  }
  if (segmentBytes / blockBytes > runCountMask) {
    throw new RangeError("an image segment must have fewer than 32768 blocks");
  }
  if (!Number.isInteger(threshold) || threshold < 0 || threshold > 0xffffffff) {
    throw new RangeError("the image cut threshold must be an unsigned 32-bit number");
  }
  if (!Number.isSafeInteger(holeBlocks) || holeBlocks < 1) {
    throw new RangeError("a hole must have at least one block");
  }
}
