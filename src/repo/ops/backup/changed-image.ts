/**
 * An image of which it is known what may have changed since the parent: only that is read.
 *
 * Segments without a change keep their node. In the others cutting begins again at the last old cut that
 * a change cannot have moved, and ends where a new cut meets an old one behind the change; what is clean
 * between them comes from the parent's chunks. The result is the one of reading everything.
 */
import { mapConcurrent } from "../../../async.ts";
import { BugError, CorruptionError } from "../../../errors.ts";
import { type DiskRange, type DiskSource, sharedBytes } from "../../../image/index.ts";
import { type BlobWriter, faultOf, type FindBases, type ReadFault } from "../../blobs/index.ts";
import { encodeSegmentNode, holeRun, type Settings } from "../../format/index.ts";
import type { Piece } from "../tree-reader.ts";
import type { ImageMapBuilder } from "../tree-writer.ts";
import type { ParentImage } from "./parent-image.ts";

/** The parent's bytes of a chunk, where they are nearer than the source; undefined: they are not. */
export type ReadChunk = (id: Uint8Array) => Promise<Uint8Array | undefined>;

export interface ChangedImage {
  readonly source: DiskSource;
  readonly settings: Settings;
  readonly parent: ParentImage;
  /** Ascending, apart, inside the disk. */
  readonly changes: readonly DiskRange[];
  readonly readChunk: ReadChunk | undefined;
  readonly findBases: (segment: number) => FindBases | undefined;
  readonly segmentsInFlight: number;
  readonly onBytes: (bytes: number) => void;
  readonly signal: AbortSignal | undefined;
}

interface TouchedSegment {
  readonly index: number;
  readonly ranges: readonly Range[];
}

/** From the segment's start; whole blocks, but at the image's end. */
interface Range {
  readonly start: number;
  readonly end: number;
}

type Fault = ReadFault & { readonly offset: number };

interface Runs {
  readonly runs: number[];
  readonly ids: Uint8Array[];
}

/** @throws {CorruptionError} when the parent's map cannot be read: then all is to be read */
export async function storeChangedImage(
  writer: BlobWriter,
  map: ImageMapBuilder,
  image: ChangedImage,
): Promise<Fault | undefined> {
  const { segmentBytes } = image.settings.chunker.image;
  const segments = mapConcurrent(
    segmentsOf(image, segmentBytes),
    image.segmentsInFlight,
    async (segment) => ({
      index: segment.index,
      ...("id" in segment ? segment : await new SegmentUpdate(writer, image, segment).store()),
    }),
  );
  let done = 0;
  for await (const segment of segments) {
    image.signal?.throwIfAborted();
    const { index } = segment;
    if ("fault" in segment) return segment.fault;
    if ("id" in segment) await map.addStored(index, segment.id);
    else if (segment.runs.some((run) => run < holeRun)) {
      const runs = Uint16Array.from(segment.runs);
      await map.add(index, encodeSegmentNode({ runs, ids: Buffer.concat(segment.ids) }));
    }
    const end = Math.min((index + 1) * segmentBytes, image.source.size);
    image.onBytes(end - done);
    done = end;
  }
  image.onBytes(image.source.size - done);
  return undefined;
}

/** Touched ones, and those of the parent between them, in order. */
async function* segmentsOf(
  image: ChangedImage,
  segmentBytes: number,
): AsyncGenerator<TouchedSegment | { readonly index: number; readonly id: Uint8Array }> {
  const touched = touchedSegments(image, segmentBytes)[Symbol.iterator]();
  let next = touched.next();
  for await (const kept of image.parent.segments()) {
    while (next.done !== true && next.value.index < kept.index) {
      yield next.value;
      next = touched.next();
    }
    if (next.done === true || next.value.index !== kept.index) yield kept;
  }
  for (; next.done !== true; next = touched.next()) yield next.value;
}

function* touchedSegments(
  { changes, settings, source }: ChangedImage,
  segmentBytes: number,
): Generator<TouchedSegment> {
  const { blockBytes } = settings.chunker.image;
  let index = -1;
  let ranges: { start: number; end: number }[] = [];
  for (const { offset, length } of changes) {
    const from = offset - (offset % blockBytes);
    const to = Math.min(Math.ceil((offset + length) / blockBytes) * blockBytes, source.size);
    for (let at = from; at < to;) {
      const segment = Math.floor(at / segmentBytes);
      const base = segment * segmentBytes;
      const end = Math.min(to, base + segmentBytes);
      if (segment !== index) {
        if (index >= 0) yield { index, ranges };
        index = segment;
        ranges = [];
      }
      const last = ranges.at(-1);
      // Two changes may lie in one block.
      if (last !== undefined && at - base <= last.end) last.end = Math.max(last.end, end - base);
      else ranges.push({ start: at - base, end: end - base });
      at = end;
    }
  }
  if (index >= 0) yield { index, ranges };
}

class SegmentUpdate {
  readonly #writer: BlobWriter;
  readonly #image: ChangedImage;
  readonly #segment: TouchedSegment;
  readonly #start: number;
  readonly #length: number;
  readonly #bytes: Uint8Array;
  readonly #result: Runs = { runs: [], ids: [] };
  /** Of the parent, from the segment's start. */
  #pieces: readonly Piece[] = [];
  #cuts: ReadonlySet<number> = new Set();
  /** Up to here the window's bytes are there. */
  #filled = 0;
  #readBytes = 0;

  constructor(writer: BlobWriter, image: ChangedImage, segment: TouchedSegment) {
    const { segmentBytes } = image.settings.chunker.image;
    this.#writer = writer;
    this.#image = image;
    this.#segment = segment;
    this.#start = segment.index * segmentBytes;
    this.#length = Math.min(segmentBytes, image.source.size - this.#start);
    this.#bytes = sharedBytes(this.#length);
  }

  async store(): Promise<Runs | { readonly fault: Fault }> {
    const pieces = await this.#image.parent.pieces(this.#segment.index);
    this.#pieces = pieces.map((piece) => ({ ...piece, offset: piece.offset - this.#start }));
    this.#cuts = new Set(this.#pieces.map(({ offset, length }) => offset + length));
    let at = 0;
    try {
      for (const { start } of this.#segment.ranges) {
        if (start < at) continue; // it was part of the window before
        at = this.#keep(at, start - this.#lookAhead);
        const next = await this.#cutFrom(at, start);
        if (typeof next !== "number") return { fault: next };
        at = next;
      }
    } catch (error) {
      if (error instanceof BugError) throw error;
      return { fault: { ...faultOf(error), offset: this.#start + this.#filled } };
    }
    this.#keep(at, this.#length);
    return this.#result;
  }

  /** A cut depends on so much behind it: zeros there may make a hole. */
  get #lookAhead(): number {
    const { holeBlocks, blockBytes } = this.#image.settings.chunker.image;
    return holeBlocks * blockBytes;
  }

  /** Takes over old runs from `at` that end at `end` or before. @returns where they end */
  #keep(at: number, end: number): number {
    const { blockBytes } = this.#image.settings.chunker.image;
    let kept = at;
    for (const { offset, length, id } of this.#pieces) {
      if (offset < at) continue;
      if (offset + length > end) break;
      const blocks = Math.ceil(length / blockBytes);
      this.#result.runs.push(id === undefined ? holeRun | blocks : blocks);
      if (id !== undefined) this.#result.ids.push(id);
      kept = offset + length;
    }
    return kept;
  }

  /** Cuts anew from an old cut, in windows that grow until the cuts are the old ones again. @returns where */
  async #cutFrom(start: number, firstChange: number): Promise<number | Fault> {
    const { maxBytes, blockBytes } = this.#image.settings.chunker.image;
    this.#filled = start;
    for (let reach = maxBytes; ; reach *= 2) {
      const { changedEnd, end } = this.#window(firstChange, reach);
      await this.#fill(end);
      let accepted = start;
      const accept = (runs: Uint16Array): number => {
        let at = start;
        for (const [index, run] of runs.entries()) {
          at = Math.min(at + (run & ~holeRun) * blockBytes, this.#length);
          const meets = at >= changedEnd && this.#cuts.has(at) && at + this.#lookAhead <= end;
          if (meets || at === this.#length) {
            accepted = at;
            return index + 1;
          }
        }
        return 0;
      };
      const readBytes = this.#readBytes;
      this.#readBytes = 0;
      const findBases = this.#basesFrom(start);
      const stored = await this.#writer.storeSegment(
        { bytes: this.#bytes.subarray(start, end), isEnd: false, readBytes },
        { findBases, accept },
      );
      if (stored.fault !== undefined) return { ...stored.fault, offset: this.#start + start };
      if (accepted === start) continue;
      let ids = 0;
      for (let at = start, index = 0; at < accepted; index++) {
        const run = stored.runs[index]!;
        this.#result.runs.push(run);
        if (run < holeRun) this.#result.ids.push(stored.ids.slice(ids++ * 32, ids * 32));
        at += (run & ~holeRun) * blockBytes;
      }
      return accepted;
    }
  }

  /** All changes that begin in it lie in it, and `reach` more. */
  #window(firstChange: number, reach: number): { changedEnd: number; end: number } {
    let changedEnd = firstChange;
    for (const range of this.#segment.ranges) {
      if (range.start < firstChange) continue;
      if (range.start > changedEnd + reach) break;
      changedEnd = range.end;
    }
    return { changedEnd, end: Math.min(changedEnd + reach, this.#length) };
  }

  async #fill(end: number): Promise<void> {
    for (const { start, end: changedEnd } of this.#segment.ranges) {
      if (changedEnd <= this.#filled) continue;
      if (start >= end) break;
      await this.#fillClean(Math.min(start, end));
      await this.#readTo(Math.min(changedEnd, end));
    }
    await this.#fillClean(end);
  }

  async #fillClean(end: number): Promise<void> {
    for (const { offset, length, id } of this.#pieces) {
      const from = Math.max(offset, this.#filled);
      const to = Math.min(offset + length, end);
      if (from >= to) continue;
      const plain = id === undefined ? undefined : await this.#chunk(id);
      if (plain !== undefined) this.#bytes.set(plain.subarray(from - offset, to - offset), from);
      else if (id !== undefined) await this.#readTo(to);
      this.#filled = to;
    }
    // Where the parent has no node all is a hole.
    this.#filled = Math.max(this.#filled, end);
  }

  /** What is damaged in the repository is still on the disk. */
  async #chunk(id: Uint8Array): Promise<Uint8Array | undefined> {
    try {
      return await this.#image.readChunk?.(id);
    } catch (error) {
      if (error instanceof CorruptionError) return undefined;
      throw error;
    }
  }

  async #readTo(end: number): Promise<void> {
    if (end <= this.#filled) return;
    const part = this.#bytes.subarray(this.#filled, end);
    this.#readBytes += await this.#image.source.read(this.#start + this.#filled, part);
    this.#filled = end;
  }

  #basesFrom(start: number): FindBases | undefined {
    const find = this.#image.findBases(this.#segment.index);
    return (
      find &&
      ((chunks) => find(chunks.map((chunk) => ({ ...chunk, offset: chunk.offset + start }))))
    );
  }
}
