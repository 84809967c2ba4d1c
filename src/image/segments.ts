/**
 * An image as segments of fixed length, told from what lies in holes.
 *
 * Whether a byte is in a hole only saves reading it: a reader that takes holes for data finds zeros there
 * and makes the same of them. So edges of holes are moved inward to whole blocks, and short holes are read.
 */
import { seekData, seekHole } from "../posix/index.ts";

/** The cutter's unit: a block is read whole or not at all. */
const blockBytes = 4096;
/** Reading a hole shorter than this costs less than a call to skip it; no shorter run is stored as a hole either. */
const holeBytesMin = 64 << 10;

export interface ImageSegment {
  readonly offset: number;
  /** For data: one segment, the image's last may be shorter. For a hole: as many segments as it covers. */
  readonly length: number;
  readonly state: "data" | "hole";
  /**
   * Where only parts are data: pairs of offset (from the segment's) and length, ascending and apart. What
   * is between them is hole. Absent: all is data.
   */
  readonly extents?: Float64Array;
}

/**
 * Walks an open file or device; one call of the system for each end of a hole, none for what lies between.
 *
 * @param currentSize asks for the size again; what was cut off since the start is given out as data, so
 *   that its reader finds it missing rather than takes it for a hole
 */
export function* imageSegments(
  fd: number,
  size: number,
  segmentBytes: number,
  currentSize: () => number,
): Generator<ImageSegment, void, undefined> {
  let data: Extent | undefined;
  const dataFrom = (offset: number): Extent => {
    if (data === undefined || data.end <= offset) data = nextData(fd, offset, size, currentSize);
    return data;
  };
  for (let at = 0; at < size;) {
    const firstData = dataFrom(at).start;
    const start = firstData < size ? Math.max(at, alignDown(firstData, segmentBytes)) : size;
    if (start > at) yield { offset: at, length: start - at, state: "hole" };
    if (start === size) return;
    const end = Math.min(start + segmentBytes, size);
    const extents = extentsBetween(start, end, dataFrom);
    yield { offset: start, length: end - start, state: "data", ...(extents && { extents }) };
    at = end;
  }
}

/** A run of data; `start` is the image's size when there is no more. */
interface Extent {
  readonly start: number;
  readonly end: number;
}

/** The first run of data that ends after `offset`, of whole blocks, holes that are too short taken in. */
function nextData(fd: number, offset: number, size: number, currentSize: () => number): Extent {
  const start = seekData(fd, offset);
  if (start === undefined || start >= size) {
    const present = currentSize();
    // A file cut short has no hole where it ended: its reader shall see that.
    return present < size
      ? { start: Math.max(offset, present), end: size }
      : { start: size, end: size };
  }
  let end = start;
  for (let next: number | undefined = start; next !== undefined && next - end < holeBytesMin;) {
    end = Math.min(seekHole(fd, next) ?? next, size);
    if (end === next || end === size) break;
    next = seekData(fd, end);
  }
  return {
    start: alignDown(start, blockBytes),
    end: Math.min(alignDown(Math.max(end - 1, start), blockBytes) + blockBytes, size),
  };
}

function alignDown(offset: number, unit: number): number {
  return offset - (offset % unit);
}

function extentsBetween(
  start: number,
  end: number,
  dataFrom: (offset: number) => Extent,
): Float64Array | undefined {
  const pairs: number[] = [];
  for (let at = start; at < end;) {
    const extent = dataFrom(at);
    const from = Math.max(extent.start, at);
    if (from >= end) break;
    const to = Math.min(extent.end, end);
    if (from === start && to === end) return undefined;
    pairs.push(from - start, to - from);
    at = to;
  }
  return Float64Array.from(pairs);
}
