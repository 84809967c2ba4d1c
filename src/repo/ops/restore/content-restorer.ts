/**
 * Fills open files and disks with their content.
 *
 * Files are taken in batches, so that packs that hold many small ones are read once. Within a batch
 * pieces flow: of a file that has content already each is compared first, and only those that differ
 * are fetched; holes are made where there is something to make zero. The reader plans what it is given
 * window by window, so memory does not grow with the image.
 */
import { mapConcurrent } from "../../../async.ts";
import type { ImageTarget } from "../../../image/index.ts";
import { printableName } from "../../../names.ts";
import { seekData } from "../../../posix/index.ts";
import type { BlobReader, BlobWrite, DamagedBlob } from "../../blobs/index.ts";
import type { DirectoryEntry, Settings } from "../../format/index.ts";
import { filePieces, type Piece } from "../tree-reader.ts";
import { readBack } from "./read-back.ts";
import type { RestoreTally } from "./tally.ts";

/** An open file or disk that waits for its content. */
export interface ContentJob {
  readonly target: ImageTarget;
  readonly entry: DirectoryEntry;
  /** Where its bytes come to lie in the target; where they lie in the image, unless given. */
  readonly placement?: Placement;
  /** For people and the summary. */
  readonly path: string;
  /** All of it is there: gives it its name, its time, whatever shows that it is whole. */
  finish(): void;
  /** Something is missing: leaves it in a state that shows it. @returns what to tell of that state */
  abandon(): string;
}

/** A file of another form than the image's own bytes. */
export interface Placement {
  /** What a piece of the image is in the target. Of a hole it may be less, or nothing. */
  piecesOf(piece: Piece): readonly Piece[];
  /** Where the target's own tables do not read back as they were written. */
  findFault(target: ImageTarget): Promise<number | undefined>;
}

export interface ContentContext {
  readonly reader: BlobReader;
  readonly settings: Settings;
  readonly tally: RestoreTally;
  readonly verify: boolean;
  readonly signal: AbortSignal | undefined;
}

const batchBytes = 512 * 1024 ** 2;
/** Batches hold their files open: one fills while the other is being restored. */
const batchFilesMost = 1024;
/** Pieces that are compared and planned together. */
const windowPieces = 1024;
/** Each small file is a window of its own. */
const windowsAhead = 16;
const faultsTold = 3;

interface PieceWindow {
  readonly job: RunningJob;
  readonly pieces: readonly Piece[];
}

interface RunningJob extends ContentJob {
  faults: number;
  isSettled: boolean;
}

export class ContentRestorer {
  readonly #context: ContentContext;
  readonly #batchFilesMax: number;
  #waiting: RunningJob[] = [];
  #waitingBytes = 0;
  #running: Promise<void> = Promise.resolve();

  /** @param openFilesMax  how many jobs may be unsettled at a time */
  constructor(context: ContentContext, openFilesMax: number) {
    this.#context = context;
    this.#batchFilesMax = Math.max(1, Math.min(batchFilesMost, Math.floor(openFilesMax / 2)));
  }

  /** Takes a job over; it is settled (finished or abandoned) some time later, at the latest by `drain`. */
  async add(job: ContentJob): Promise<void> {
    this.#waiting.push({
      target: job.target,
      entry: job.entry,
      path: job.path,
      ...(job.placement === undefined ? {} : { placement: job.placement }),
      finish: () => {
        job.finish();
      },
      abandon: () => job.abandon(),
      faults: 0,
      isSettled: false,
    });
    this.#waitingBytes += job.target.size;
    if (this.#waiting.length >= this.#batchFilesMax || this.#waitingBytes >= batchBytes)
      await this.#startBatch();
  }

  async drain(): Promise<void> {
    await this.#startBatch();
    await this.#running;
  }

  /** After a failure: lets go of what waits. */
  async abort(): Promise<void> {
    await this.#running.catch(() => undefined);
    for (const job of this.#waiting) job.abandon();
    this.#waiting = [];
  }

  async #startBatch(): Promise<void> {
    await this.#running;
    const batch = this.#waiting;
    this.#waiting = [];
    this.#waitingBytes = 0;
    if (batch.length === 0) return;
    this.#running = this.#runBatch(batch);
    this.#running.catch(() => undefined); // awaited before the next batch, or by drain
  }

  async #runBatch(batch: readonly RunningJob[]): Promise<void> {
    const { reader, tally, signal } = this.#context;
    const jobs = new Map(batch.map((job) => [job.target.fd, job]));
    try {
      const stats = await reader.restoreInto(this.#writes(batch), {
        onProgress: (bytes) => {
          signal?.throwIfAborted(); // what is in flight ends, nothing more is begun
          tally.advance(bytes);
        },
        onDamaged: (damaged) => {
          this.#noteDamaged(jobs, damaged);
        },
      });
      tally.bytesWritten += stats.bytesWritten;
      tally.bytesFetched += stats.bytesFetched;
      for (const job of batch) await this.#settle(job);
    } finally {
      for (const job of batch) if (!job.isSettled) job.abandon();
    }
  }

  async #settle(job: RunningJob): Promise<void> {
    const { tally, verify } = this.#context;
    const size = job.entry.metadata.size;
    const name = printableName(job.path);
    if (job.faults > 0) {
      job.isSettled = true;
      const state = job.abandon();
      const places = job.faults === 1 ? "1 place" : `${job.faults} places`;
      tally.damaged(job.path, `${name} is damaged in ${places}: ${state}`);
      return;
    }
    const differing = verify ? await readBack(this.#context, job) : undefined;
    job.isSettled = true;
    if (differing === undefined) {
      job.finish();
      tally.restored(job.path, size);
      return;
    }
    const state = job.abandon();
    tally.unequal(
      job.path,
      `${name} does not read back as it was written at offset ${differing}: ${state}`,
    );
  }

  async *#writes(batch: readonly RunningJob[]): AsyncGenerator<BlobWrite> {
    const windows = mapConcurrent(this.#windows(batch), windowsAhead, async (window) => ({
      job: window.job,
      missing: await this.#missing(window),
    }));
    for await (const { job, missing } of windows) {
      this.#context.signal?.throwIfAborted();
      const { fd } = job.target;
      for (const { id, offset, length } of missing)
        yield { id, plainLength: length, targets: [{ fd, offset }] };
    }
  }

  async *#windows(batch: readonly RunningJob[]): AsyncGenerator<PieceWindow> {
    const { reader, settings } = this.#context;
    for (const job of batch) {
      const batches = filePieces(reader, job.entry, settings, ({ offset, length }, error) => {
        this.#noteFault(job, offset, error.message);
        this.#context.tally.advance(length);
      });
      let pieces: Piece[] = [];
      for await (const some of batches) {
        this.#context.signal?.throwIfAborted();
        pieces.push(...this.#placed(job, some));
        if (pieces.length < windowPieces) continue;
        yield { job, pieces };
        pieces = [];
      }
      if (pieces.length > 0) yield { job, pieces };
    }
  }

  #placed({ placement }: RunningJob, pieces: readonly Piece[]): readonly Piece[] {
    if (placement === undefined) return pieces;
    return pieces.flatMap((piece) => {
      const placed = placement.piecesOf(piece);
      this.#context.tally.advance(placed.reduce((left, { length }) => left - length, piece.length));
      return placed;
    });
  }

  /** Chunks that are not where they belong yet. Holes are made on the way. */
  async #missing({ job, pieces }: PieceWindow): Promise<Required<Piece>[]> {
    const { target } = job;
    const { tally, reader } = this.#context;
    const missing: Required<Piece>[] = [];
    const present: Required<Piece>[] = [];
    for (const piece of pieces) {
      if (!isChunk(piece)) {
        await target.zeroRange(piece.offset, piece.length);
        tally.advance(piece.length);
      } else if (target.isNew || isHole(target, piece)) missing.push(piece);
      else present.push(piece);
    }
    if (present.length === 0) return missing;
    const equal = await reader.verifyRanges(target.fd, present);
    for (const [row, piece] of present.entries()) {
      if (equal[row] === 1) {
        tally.bytesSkipped += piece.length;
        tally.advance(piece.length);
      } else missing.push(piece);
    }
    return missing;
  }

  #noteDamaged(jobs: ReadonlyMap<number, RunningJob>, { targets, error }: DamagedBlob): void {
    for (const { fd, offset } of targets) this.#noteFault(jobs.get(fd)!, offset, error.message);
  }

  #noteFault(job: RunningJob, offset: number, message: string): void {
    const place = `${printableName(job.path)} at offset ${offset}`;
    if (++job.faults <= faultsTold) this.#context.tally.warn(`Cannot restore ${place}: ${message}`);
  }
}

function isChunk(piece: Piece): piece is Required<Piece> {
  return piece.id !== undefined;
}

/** Then there is nothing worth comparing. Disks are not asked: they have no holes. */
function isHole({ fd, kind }: ImageTarget, { offset, length }: Piece): boolean {
  if (kind === "block") return false;
  const data = seekData(fd, offset);
  return data === undefined || data >= offset + length;
}
