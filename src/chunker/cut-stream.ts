/**
 * Where byte streams are cut (ordinary files, stdin): FastCDC, at any byte.
 *
 * A file's edits shift what follows by any number of bytes, so here cuts cannot be aligned.
 *
 * @see Xia et al., FastCDC, USENIX ATC 2016 · docs/decisions/0002-chunkers.md
 */
import { fastCdcEnds } from "./fastcdc-wasm.ts";

/** Part of the repository's config: every writer cuts alike. */
export interface StreamCutParams {
  readonly minBytes: number;
  /** A power of two. */
  readonly averageBytes: number;
  readonly maxBytes: number;
}

/** As measured in docs/decisions/0002-chunkers.md. */
export const defaultStreamCutParams: StreamCutParams = {
  minBytes: 16 * 1024,
  averageBytes: 64 * 1024,
  maxBytes: 256 * 1024,
};

/** The package's own lower limits, and an upper one that bounds its memory. */
const leastBytes = { min: 64, average: 256, max: 1024 };
const mostBytes = 8 * 1024 * 1024;

/** At least so much is cut at a time: it is copied into WASM memory, which never shrinks. */
const windowBytes = 4 * 1024 * 1024;

/**
 * Lengths of those chunks at the front of `bytes` which no later byte can change.
 *
 * The caller drops these chunks and presents the rest again with more bytes behind it. Where chunks
 * end depends only on the stream and `params`, never on how the stream is sliced.
 *
 * @param bytes from the last cut on; any length, not changed, not kept
 * @param isEnd nothing follows: then the lengths add up to `bytes.length`
 * @returns each `minBytes..maxBytes` but the stream's last, which may be shorter
 * @throws {RangeError} when `params` breaks `checkStreamCutParams`
 */
export function cutStream(bytes: Uint8Array, isEnd: boolean, params: StreamCutParams): Uint32Array {
  checkStreamCutParams(params);
  const { minBytes, averageBytes, maxBytes } = params;
  // A full chunk always fits, so each window but the stream's last few bytes yields one.
  const span = Math.max(windowBytes, 2 * maxBytes);
  const lengths: number[] = [];
  for (let start = 0; start < bytes.length;) {
    const window = bytes.subarray(start, start + span);
    const isLast = isEnd && start + window.length === bytes.length;
    const before = start;
    let cut = 0;
    for (const end of fastCdcEnds(window, minBytes, averageBytes, maxBytes)) {
      const length = end - cut;
      // A chunk that stops where the window does was cut for want of bytes, unless it is full.
      if (end === window.length && !isLast && length < maxBytes) break;
      lengths.push(length);
      cut = end;
      start += length;
    }
    if (start === before) break;
  }
  return Uint32Array.from(lengths);
}

/** @throws {RangeError} when the sizes are out of order or out of range; they may come from a config */
export function checkStreamCutParams(params: StreamCutParams): void {
  const { minBytes, averageBytes, maxBytes } = params;
  const whole = [minBytes, averageBytes, maxBytes].every((bytes) => Number.isSafeInteger(bytes));
  if (!whole || minBytes > averageBytes || averageBytes > maxBytes) {
    throw new RangeError("stream chunk sizes must be whole numbers, min <= average <= max");
  }
  if (
    minBytes < leastBytes.min ||
    averageBytes < leastBytes.average ||
    maxBytes < leastBytes.max ||
    maxBytes > mostBytes
  ) {
    throw new RangeError(
      "stream chunk sizes must be at least 64, 256 and 1024 bytes, at most 8 MiB",
    );
  }
  if (!Number.isInteger(Math.log2(averageBytes))) {
    throw new RangeError("the average stream chunk size must be a power of two");
  }
}
