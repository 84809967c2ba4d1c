/**
 * A lane of a restore: opens, decompresses, checks the id, writes at the blob's offsets, on one core.
 *
 * A state machine like `Lane`: in a worker, or inline. A damaged blob is reported and nothing of it
 * written; the rest of the job goes on.
 */
import fs from "node:fs";
import { toHex } from "../../bytes.ts";
import { createIdHasher, PackOpener, type IdHasher } from "../../crypto/index.ts";
import { CorruptionError } from "../../errors.ts";
import { blobPlainBytesMax, idBytes } from "../format/index.ts";
import { BlobDecoder } from "./open-blob.ts";
import { faultOf } from "./read-source.ts";
import type {
  BlobFault,
  FromRestoreLane,
  OpenColumns,
  RestoreLaneConfig,
  ToRestoreLane,
} from "./restore-messages.ts";
import { openZstd } from "./zstd.ts";

type OpenJob = Extract<ToRestoreLane, { type: "open" }>;
type VerifyJob = Extract<ToRestoreLane, { type: "verify" }>;

export class RestoreLane {
  readonly #config: RestoreLaneConfig;
  readonly #post: (message: FromRestoreLane) => void;
  readonly #ids: IdHasher;
  readonly #decoder: BlobDecoder;
  /** Plain bytes of one blob at a time; grows to the longest met. */
  #plain = new Uint8Array(0);

  constructor(config: RestoreLaneConfig, post: (message: FromRestoreLane) => void) {
    this.#config = config;
    this.#post = post;
    this.#ids = createIdHasher(config.keys);
    this.#decoder = new BlobDecoder(this.#ids, openZstd("auto"));
  }

  receive(message: ToRestoreLane): void {
    if (message.type === "open") this.#open(message);
    else this.#verify(message);
  }

  #open(job: OpenJob): void {
    const { columns } = job;
    const openers = job.packs.map(
      ({ secret, cls }) => new PackOpener(secret, this.#config.repoId, cls),
    );
    const bases = new Map<string, Uint8Array>();
    const faults: BlobFault[] = [];
    let writeFault: ReturnType<typeof faultOf> | undefined;
    for (let row = 0; row < columns.packs.length && writeFault === undefined; row++) {
      const plain = this.#openRow(job, openers, row, bases, faults);
      if (plain === undefined) continue;
      if (columns.isBase[row] === 1) bases.set(toHex(idOf(columns, row)), plain.slice());
      try {
        writeTargets(columns, row, plain);
      } catch (error) {
        writeFault = faultOf(error);
      }
    }
    this.#post({ type: "opened", job: job.job, faults, writeFault });
  }

  /** @returns plain bytes, valid until the next row; undefined when a fault was noted */
  #openRow(
    job: OpenJob,
    openers: readonly PackOpener[],
    row: number,
    bases: ReadonlyMap<string, Uint8Array>,
    faults: BlobFault[],
  ): Uint8Array | undefined {
    const { columns, memory } = job;
    const pack = columns.packs[row]!;
    const { cls } = job.packs[pack]!;
    const blob = {
      id: idOf(columns, row),
      ordinal: columns.ordinals[row]!,
      form: columns.forms[row]!,
      plainLength: columns.plainLengths[row]!,
    };
    const start = columns.starts[row]!;
    try {
      const sealed = memory.subarray(start, start + columns.sealedLengths[row]!);
      const opened = openers[pack]!.openBlob(blob, sealed);
      const into = this.#room(blob.plainLength);
      const decoded = this.#decoder.decode(cls, blob, opened, into);
      if (decoded instanceof Uint8Array) return decoded;
      const plains = decoded.bases.map((base) => {
        const plain = bases.get(toHex(base.id));
        if (plain !== undefined) return plain;
        throw new CorruptionError(`Cannot open blob ${toHex(blob.id)}: its base is not at hand`);
      });
      return this.#decoder.applyDelta(cls, blob, decoded, plains, into);
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error;
      faults.push({ row, message: error.message });
      return undefined;
    }
  }

  #verify(job: VerifyJob): void {
    const equal = new Uint8Array(job.offsets.length);
    for (let row = 0; row < equal.length; row++) {
      const into = this.#room(job.lengths[row]!).subarray(0, job.lengths[row]);
      const id = job.ids.subarray(row * idBytes, (row + 1) * idBytes);
      const isRead = readRange(job.fd, into, job.offsets[row]!);
      if (isRead && Buffer.compare(this.#ids.id("data", into), id) === 0) equal[row] = 1;
    }
    this.#post({ type: "verified", job: job.job, equal });
  }

  #room(length: number): Uint8Array {
    const bounded = Math.min(length, blobPlainBytesMax);
    if (this.#plain.length < bounded) this.#plain = new Uint8Array(bounded);
    return this.#plain;
  }
}

function idOf(columns: OpenColumns, row: number): Uint8Array {
  return columns.ids.subarray(row * idBytes, (row + 1) * idBytes);
}

function writeTargets(columns: OpenColumns, row: number, plain: Uint8Array): void {
  for (let at = columns.targetStarts[row]!; at < columns.targetStarts[row + 1]!; at++) {
    const fd = columns.targetFds[at]!;
    const offset = columns.targetOffsets[at]!;
    for (let done = 0; done < plain.length;) {
      done += fs.writeSync(fd, plain, done, plain.length - done, offset + done);
    }
  }
}

/** @returns false when the range ends early or cannot be read: then it is to be written anew */
function readRange(fd: number, into: Uint8Array, offset: number): boolean {
  try {
    for (let at = 0; at < into.length;) {
      const count = fs.readSync(fd, into, at, into.length - at, offset + at);
      if (count === 0) return false;
      at += count;
    }
    return true;
  } catch {
    return false;
  }
}
