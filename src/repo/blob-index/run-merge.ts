/** Merges runs into one, as a stream: memory is one small window a run. */
import { setImmediate } from "node:timers/promises";
import { compareIds, noPack, prefixBytes, recordBaseFirst, recordPack } from "./record.ts";
import { bucketRecordCount, recordAt, type Run } from "./run.ts";
import type { RunWriter } from "./run-writer.ts";

const windowBytes = 65_536;
/** Between two breaths of the event loop: some 10 ms of work. */
const recordsPerTurn = 16_384;

/** A run to be merged, and per its pack the number in the new run, or `noPack` to leave its records out. */
export interface MergeSource {
  readonly run: Run;
  readonly packs: Uint32Array;
}

/**
 * Gives every record whose pack is kept to `writer`, by rising id. Other work goes on meanwhile.
 * @throws {CacheDamage} when a source is not what was written; that run is then marked damaged
 */
export async function mergeRuns(
  sources: readonly MergeSource[],
  writer: RunWriter,
  signal: AbortSignal | undefined,
): Promise<void> {
  const heap = new CursorHeap();
  for (const source of sources) {
    const cursor = new Cursor(source);
    if (cursor.next()) heap.push(cursor);
  }
  for (let records = 1; heap.top !== undefined; records++) {
    const cursor = heap.top;
    writer.add(cursor.bucket, cursor.at, cursor.pack, cursor.bucket, cursor.basesAt);
    if (cursor.next()) heap.sink();
    else heap.pop();
    if (records % recordsPerTurn === 0) {
      await setImmediate();
      signal?.throwIfAborted();
    }
  }
}

/** Walks the kept records of a run. */
class Cursor {
  bucket: Uint8Array = new Uint8Array(0);
  at = 0;
  pack = noPack;
  readonly #source: MergeSource;
  #window: Uint8Array[] = [];
  #record = 0;
  #recordCount = 0;
  #bucketsRead = 0;

  constructor(source: MergeSource) {
    this.#source = source;
  }

  get basesAt(): number {
    return recordAt(this.#recordCount) + recordBaseFirst(this.bucket, this.at) * prefixBytes;
  }

  next(): boolean {
    for (;;) {
      while (this.#record < this.#recordCount) {
        this.at = recordAt(this.#record++);
        this.pack = this.#source.packs[recordPack(this.bucket, this.at)]!;
        if (this.pack !== noPack) return true;
      }
      if (!this.#nextBucket()) return false;
    }
  }

  #nextBucket(): boolean {
    while (this.#window.length === 0) {
      const { run } = this.#source;
      if (this.#bucketsRead === 2 ** run.header.fanoutBits) return false;
      try {
        this.#bucketsRead = run.readBuckets(this.#bucketsRead, windowBytes, (bucket) =>
          this.#window.push(bucket),
        );
      } catch (error) {
        run.damaged = true;
        throw error;
      }
      this.#window.reverse();
    }
    this.bucket = this.#window.pop()!;
    this.#record = 0;
    this.#recordCount = bucketRecordCount(this.bucket);
    return true;
  }
}

/** A binary heap, least id on top. */
class CursorHeap {
  readonly #cursors: Cursor[] = [];

  get top(): Cursor | undefined {
    return this.#cursors[0];
  }

  push(cursor: Cursor): void {
    let at = this.#cursors.push(cursor) - 1;
    while (at > 0) {
      const above = (at - 1) >>> 1;
      if (!this.#less(at, above)) return;
      this.#swap(at, above);
      at = above;
    }
  }

  pop(): void {
    const last = this.#cursors.pop();
    if (last === undefined || this.#cursors.length === 0) return;
    this.#cursors[0] = last;
    this.sink();
  }

  /** Puts the top where it belongs after its cursor moved on. */
  sink(): void {
    for (let at = 0; ;) {
      let least = at;
      for (const below of [2 * at + 1, 2 * at + 2]) {
        if (below < this.#cursors.length && this.#less(below, least)) least = below;
      }
      if (least === at) return;
      this.#swap(at, least);
      at = least;
    }
  }

  #less(a: number, b: number): boolean {
    const left = this.#cursors[a]!;
    const right = this.#cursors[b]!;
    return compareIds(left.bucket, left.at, right.bucket, right.at) < 0;
  }

  #swap(a: number, b: number): void {
    const cursor = this.#cursors[a]!;
    this.#cursors[a] = this.#cursors[b]!;
    this.#cursors[b] = cursor;
  }
}
