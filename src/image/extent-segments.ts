/** Runs of data, as a server or a map tells of them, into segments with their holes. */
import type { DiskRange } from "./disk-source.ts";
import type { ImageSegment } from "./segments.ts";

/** The cutter's unit: a block is read whole or not at all. */
const blockBytes = 4096;
/** Reading a hole shorter than this costs less than another request. */
const holeBytesMin = 64 << 10;

/**
 * @param data  what may be other than zero; ascending and apart, of any number
 * @returns the whole disk in order, as `DiskSource.segments` gives it
 */
export async function* segmentsOfExtents(
  data: AsyncIterable<DiskRange>,
  size: number,
  segmentBytes: number,
): AsyncGenerator<ImageSegment> {
  let done = 0;
  let current: { readonly start: number; readonly pairs: number[] } | undefined;
  const close = (): ImageSegment => {
    const { start, pairs } = current!;
    current = undefined;
    const length = Math.min(segmentBytes, size - start);
    done = start + length;
    const isAllData = pairs[0] === 0 && pairs[1] === length;
    const extents = isAllData ? {} : { extents: Float64Array.from(pairs) };
    return { offset: start, length, state: "data", ...extents };
  };
  for await (const range of wholeBlocks(data, size)) {
    const end = range.offset + range.length;
    for (let at = range.offset; at < end;) {
      const start = at - (at % segmentBytes);
      if (current !== undefined && current.start !== start) yield close();
      if (current === undefined) {
        if (start > done) yield { offset: done, length: start - done, state: "hole" };
        current = { start, pairs: [] };
      }
      const next = Math.min(end, start + segmentBytes);
      current.pairs.push(at - start, next - at);
      at = next;
    }
  }
  if (current !== undefined) yield close();
  if (done < size) yield { offset: done, length: size - done, state: "hole" };
}

/** The same in whole blocks, holes that are too short taken in. */
async function* wholeBlocks(
  data: AsyncIterable<DiskRange>,
  size: number,
): AsyncGenerator<DiskRange> {
  let start = 0;
  let end = 0;
  for await (const range of data) {
    const from = range.offset - (range.offset % blockBytes);
    const to = Math.min(Math.ceil((range.offset + range.length) / blockBytes) * blockBytes, size);
    if (end > start && from - end < holeBytesMin) {
      end = to;
      continue;
    }
    if (end > start) yield { offset: start, length: end - start };
    start = from;
    end = to;
  }
  if (end > start) yield { offset: start, length: end - start };
}
