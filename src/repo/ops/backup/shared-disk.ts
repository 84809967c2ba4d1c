/**
 * A disk with no page cache before it (a server's export, a running machine), read once for several
 * backups: a segment's bytes stay until all who want them have them, and the runs stay near one another
 * (shared-source.ts).
 */
import type { DiskSource, ImageSegment, SegmentInput } from "../../../image/index.ts";

interface Load {
  readonly input: SegmentInput | Promise<SegmentInput>;
  readonly waiting: Set<number>;
}

export class SharedDisk {
  readonly #source: DiskSource;
  /** Those who read all of it, in order. */
  readonly #readers: Set<number>;
  readonly #loads = new Map<number, Load>();

  constructor(source: DiskSource, readers: Iterable<number>) {
    this.#source = source;
    this.#readers = new Set(readers);
  }

  /** The disk for one run. Closing it is not the run's. */
  view(reader: number): DiskSource {
    const source = this.#source;
    return {
      path: source.path,
      size: source.size,
      segments: (bytes) => source.segments(bytes),
      load: (segment) => this.#load(reader, segment),
      read: (offset, into) => source.read(offset, into),
      changedSince: () => source.changedSince(),
      close: () => undefined,
    };
  }

  /** It reads no more: nothing is kept for it. */
  leave(reader: number): void {
    this.#readers.delete(reader);
    for (const offset of [...this.#loads.keys()]) this.#taken(offset, reader);
  }

  #load(reader: number, segment: ImageSegment): SegmentInput | Promise<SegmentInput> {
    if (!this.#readers.has(reader)) return this.#source.load(segment);
    const { offset } = segment;
    const load = this.#loads.get(offset) ?? {
      input: this.#source.load(segment),
      waiting: new Set(this.#readers),
    };
    this.#loads.set(offset, load);
    this.#taken(offset, reader);
    return load.input;
  }

  #taken(offset: number, reader: number): void {
    const waiting = this.#loads.get(offset)?.waiting;
    waiting?.delete(reader);
    if (waiting?.size === 0) this.#loads.delete(offset);
  }
}
