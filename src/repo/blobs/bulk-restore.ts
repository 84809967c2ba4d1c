/**
 * Restores many blobs to their offsets: pack by pack, many reads in flight, in bounded memory.
 *
 * Writes are taken in windows, so that a plan of any length costs the same; a window is planned by
 * pack (restore-plan.ts), its jobs are read into shared buffers and opened by lanes, which write.
 * What cannot be restored that way is read singly, from any place that has it; only what no place
 * has is reported as damaged, and the rest goes on.
 */
import fs from "node:fs";
import { FailedError, CorruptionError } from "../../errors.ts";
import type { BlobClass } from "../../crypto/index.ts";
import type { Storage } from "../../storage/index.ts";
import type { BlobIndex } from "../blob-index/index.ts";
import { blobForm, idBytes } from "../format/index.ts";
import { deltaClosure, plannedBlob } from "./delta-closure.ts";
import { readPackRange } from "./pack-range.ts";
import type { PackSecrets } from "./pack-secrets.ts";
import {
  openingOrder,
  planDeltaJobs,
  planJobs,
  planLimits,
  sortAndMerge,
  type PlannedBlob,
  type PlannedJob,
  type WriteTarget,
} from "./restore-plan.ts";
import type { OpenColumns } from "./restore-messages.ts";
import type { RestorePool } from "./restore-pool.ts";
import { Gate } from "./gate.ts";

/** A chunk, and where its content belongs. */
export interface BlobWrite {
  readonly id: Uint8Array;
  readonly plainLength: number;
  readonly targets: readonly WriteTarget[];
}

export interface DamagedBlob {
  readonly id: Uint8Array;
  readonly targets: readonly WriteTarget[];
  /** Names the packs. */
  readonly error: CorruptionError;
}

export interface RestoreOptions {
  /** Plain bytes done since the last call, written or given up. */
  readonly onProgress?: (bytes: number) => void;
  /** A blob that no place could give; without this the first one fails the restore. */
  readonly onDamaged?: (damaged: DamagedBlob) => void;
}

export interface RestoreStats {
  blobs: number;
  bytesWritten: number;
  /** Stored bytes that were fetched. */
  bytesFetched: number;
  damaged: number;
}

export interface BulkRestoreContext {
  readonly storage: Storage;
  readonly index: Pick<BlobIndex, "lookup" | "lookupPrefix" | "packInfo">;
  readonly signal: AbortSignal | undefined;
  readonly secrets: PackSecrets;
  readonly pool: RestorePool;
  /** From any place that has it. */
  read(cls: BlobClass, id: Uint8Array): Promise<Uint8Array>;
}

/** A window is planned as a whole: packs that lie in it are read once. */
const windowBlobsMost = 8192;
const windowBytesMost = 512 * 1024 ** 2;
/** Buffers beyond one a lane: being filled from storage while lanes work. */
const jobsAhead = 3;
const readsInFlight = 16;

export class BulkRestore {
  readonly #context: BulkRestoreContext;
  readonly #reads = new Gate(readsInFlight);
  readonly #jobs: Gate;
  readonly #buffers: Uint8Array[] = [];
  readonly #running = new Set<Promise<void>>();
  readonly #stats: RestoreStats = { blobs: 0, bytesWritten: 0, bytesFetched: 0, damaged: 0 };
  #options: RestoreOptions = {};
  #failure: Error | undefined;

  constructor(context: BulkRestoreContext) {
    this.#context = context;
    this.#jobs = new Gate(context.pool.laneCount + jobsAhead);
  }

  async run(
    writes: AsyncIterable<BlobWrite> | Iterable<BlobWrite>,
    options: RestoreOptions,
  ): Promise<RestoreStats> {
    this.#options = options;
    try {
      let window: BlobWrite[] = [];
      let bytes = 0;
      for await (const write of writes) {
        window.push(write);
        bytes += write.plainLength;
        if (window.length < windowBlobsMost && bytes < windowBytesMost) continue;
        await this.#restoreWindow(window);
        window = [];
        bytes = 0;
      }
      await this.#restoreWindow(window);
    } finally {
      // Buffers and descriptors are in use until every job has ended, also of a restore that failed.
      while (this.#running.size > 0) await Promise.all(this.#running);
    }
    this.#throwFailure();
    return this.#stats;
  }

  async #restoreWindow(writes: readonly BlobWrite[]): Promise<void> {
    const alone: PlannedBlob[] = [];
    const closures: PlannedBlob[][] = [];
    const single: BlobWrite[] = [];
    for (const write of writes) {
      const location = this.#context.index.lookup("data", write.id);
      if (location?.plainLength !== write.plainLength) single.push(write);
      else if (location.form !== blobForm.delta) {
        alone.push(plannedBlob(write.id, location, write.targets));
      } else {
        const blob = plannedBlob(write.id, location, write.targets);
        const closure = deltaClosure(this.#context.index, "data", blob, location);
        if (closure === undefined) single.push(write);
        else closures.push(closure);
      }
    }
    const needsHeader = (pack: number): boolean => !this.#context.secrets.has(this.#packName(pack));
    for (const job of planJobs(sortAndMerge(alone), needsHeader)) {
      await this.#start(() => this.#runJob(job));
    }
    closures.sort((a, b) => a[0]!.pack - b[0]!.pack || a[0]!.offset - b[0]!.offset);
    for (const job of planDeltaJobs(closures)) await this.#start(() => this.#runJob(job));
    for (const write of single) {
      await this.#start(() => this.#restoreSingly(write.id, write.plainLength, write.targets));
    }
  }

  /** Waits for a free buffer, then runs `job` beside the others. */
  async #start(job: () => Promise<void>): Promise<void> {
    await this.#jobs.enter();
    try {
      this.#throwFailure();
    } catch (error) {
      this.#jobs.leave();
      throw error;
    }
    const running = job()
      .catch((error: unknown) => {
        this.#failure ??= error instanceof Error ? error : new Error(String(error));
      })
      .finally(() => {
        this.#running.delete(running);
        this.#jobs.leave();
      });
    this.#running.add(running);
  }

  async #runJob(job: PlannedJob): Promise<void> {
    const buffer =
      this.#buffers.pop() ?? new Uint8Array(new SharedArrayBuffer(planLimits.jobBytes));
    try {
      const failed = await this.#openJob(job, buffer);
      for (const blob of failed) {
        if (blob.targets.length === 0) continue;
        await this.#restoreSingly(blob.id, blob.plainLength, blob.targets);
      }
    } finally {
      this.#buffers.push(buffer);
    }
  }

  /** @returns blobs that were not written */
  async #openJob(job: PlannedJob, buffer: Uint8Array): Promise<PlannedBlob[]> {
    const failed: PlannedBlob[] = [];
    const starts = new Map<PlannedBlob, number>();
    let at = 0;
    const fetches = job.ranges.map(async (range) => {
      const start = at;
      at += range.length;
      const isThere = await this.#fetch(range.pack, range.offset, buffer.subarray(start, at));
      for (const blob of range.blobs) {
        if (isThere) starts.set(blob, start + blob.offset - range.offset);
        else failed.push(blob);
      }
    });
    await Promise.all(fetches);
    const rows = openingOrder(job).filter((blob) => starts.has(blob));
    if (rows.length === 0) return failed;
    const packs = [...new Set(rows.map((blob) => blob.pack))];
    const opened = await Promise.all(
      packs.map((pack) => this.#context.secrets.get(this.#packName(pack))),
    );
    const answer = await this.#context.pool.open({
      memory: buffer,
      // A fetched pack's secret is at hand, or its fetch had failed.
      packs: opened.map((pack) => pack ?? { cls: "data", secret: new Uint8Array(32) }),
      columns: columnsOf(rows, packs, starts),
    });
    if (answer.writeFault !== undefined) {
      throw new FailedError(`Cannot write restored data: ${answer.writeFault.message}`);
    }
    const faulty = new Set(answer.faults.map((fault) => fault.row));
    let done = 0;
    for (const [row, blob] of rows.entries()) {
      if (faulty.has(row)) failed.push(blob);
      else done += this.#written(blob.plainLength, blob.targets.length);
    }
    if (done > 0) this.#options.onProgress?.(done);
    return failed;
  }

  async #fetch(pack: number, offset: number, into: Uint8Array): Promise<boolean> {
    await this.#reads.enter();
    try {
      const isThere = await readPackRange(this.#context, this.#packName(pack), offset, into);
      if (isThere) this.#stats.bytesFetched += into.length;
      return isThere;
    } finally {
      this.#reads.leave();
    }
  }

  async #restoreSingly(
    id: Uint8Array,
    plainLength: number,
    targets: readonly WriteTarget[],
  ): Promise<void> {
    try {
      const plain = await this.#context.read("data", id);
      if (plain.length !== plainLength) {
        throw new CorruptionError(
          "Cannot restore chunk: the tree that names it says another length",
        );
      }
      for (const target of targets) await writeFully(target, plain);
      this.#written(plainLength, targets.length);
    } catch (error) {
      if (!(error instanceof CorruptionError) || this.#options.onDamaged === undefined) throw error;
      this.#stats.damaged++;
      this.#options.onDamaged({ id, targets, error });
    }
    this.#options.onProgress?.(plainLength * targets.length);
  }

  #written(plainLength: number, targets: number): number {
    if (targets > 0) this.#stats.blobs++;
    this.#stats.bytesWritten += plainLength * targets;
    return plainLength * targets;
  }

  #packName(pack: number): string {
    return this.#context.index.packInfo(pack).name;
  }

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure;
    this.#context.signal?.throwIfAborted();
  }
}

function columnsOf(
  rows: readonly PlannedBlob[],
  packs: readonly number[],
  starts: ReadonlyMap<PlannedBlob, number>,
): OpenColumns {
  const targets = rows.flatMap((blob) => blob.targets);
  const targetStarts = new Uint32Array(rows.length + 1);
  const ids = new Uint8Array(rows.length * idBytes);
  const packRow = new Map(packs.map((pack, row) => [pack, row]));
  rows.forEach((blob, row) => {
    targetStarts[row + 1] = targetStarts[row]! + blob.targets.length;
    ids.set(blob.id, row * idBytes);
  });
  return {
    packs: Uint16Array.from(rows, (blob) => packRow.get(blob.pack)!),
    starts: Uint32Array.from(rows, (blob) => starts.get(blob)!),
    sealedLengths: Uint32Array.from(rows, (blob) => blob.sealedLength),
    plainLengths: Uint32Array.from(rows, (blob) => blob.plainLength),
    ordinals: Uint16Array.from(rows, (blob) => blob.ordinal),
    forms: Uint8Array.from(rows, (blob) => blob.form),
    ids,
    isBase: Uint8Array.from(rows, (blob) => (blob.isBase ? 1 : 0)),
    targetStarts,
    targetFds: Int32Array.from(targets, (target) => target.fd),
    targetOffsets: Float64Array.from(targets, (target) => target.offset),
  };
}

function writeFully({ fd, offset }: WriteTarget, plain: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    const step = (done: number): void => {
      if (done === plain.length) {
        resolve();
        return;
      }
      fs.write(fd, plain, done, plain.length - done, offset + done, (error, count) => {
        if (error === null) step(done + count);
        else
          reject(new FailedError(`Cannot write restored data: ${error.message}`, { cause: error }));
      });
    };
    step(0);
  });
}
