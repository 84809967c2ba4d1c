/**
 * A disk to back up, whatever holds it: a raw file, a block device, a qcow2 file, an NBD export, a machine.
 *
 * The store asks for its segments in order, and for each that holds data for what a lane is to read:
 * either places in open files, which lanes read themselves, or bytes that were read here, in shared
 * memory, while lanes cut earlier ones.
 */
import type { ImageSegment } from "./segments.ts";

/** Ranges, ascending, apart and not empty. */
export interface DiskRange {
  readonly offset: number;
  readonly length: number;
}

/** What a lane is given for one segment or a part of it. */
export type SegmentInput =
  | {
      readonly fd: number;
      readonly offset: number;
      readonly length: number;
      /** Only these are read, the rest is zero: pairs of offset (from this one's) and length, ascending. */
      readonly extents?: Float64Array;
    }
  | {
      readonly length: number;
      /** Only these are read, the rest is zero: fours of offset (from the segment's), length, fd, and offset in that file. */
      readonly places: Float64Array;
    }
  | {
      /** Shared memory; stays as it is until the lane has answered. */
      readonly bytes: Uint8Array;
      /** False but for the last window of a stream; of no meaning for segments. */
      readonly isEnd: boolean;
      /** How many bytes were read to make these: holes and zeros cost none. All unless given. */
      readonly readBytes?: number;
    };

export interface DiskSource {
  /** For messages: a path, a URI, a machine's disk. */
  readonly path: string;
  /** What the guest sees, in bytes. */
  readonly size: number;
  /**
   * The whole disk in order, from segment to segment: data a segment at a time, holes as long as they
   * are. What reads as zeros for certain is a hole; where that is not known it is data.
   */
  segments(segmentBytes: number): Iterable<ImageSegment> | AsyncIterable<ImageSegment>;
  /**
   * For a data segment as `segments` gave it out. Called for several ahead; errors become the image's fault.
   */
  load(segment: ImageSegment): SegmentInput | Promise<SegmentInput>;
  /**
   * Fills `into` with what the guest sees from `offset` on; it lies inside the disk.
   *
   * @returns how many bytes were read for it: zeros that were known cost none
   */
  read(offset: number, into: Uint8Array): Promise<number>;
  /** Why what was read may be a mixture of two states; undefined: it is one. */
  changedSince(): string | undefined;
  close(): void | Promise<void>;
}

/** Bytes that a lane can read without a copy between threads. */
export function sharedBytes(length: number): Uint8Array {
  return new Uint8Array(new SharedArrayBuffer(length));
}
