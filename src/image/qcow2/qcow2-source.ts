/** A qcow2 file as its guest sees it. */
import { closeSync, fstatSync, read } from "node:fs";
import { promisify } from "node:util";

import { assert, FailedError } from "../../errors.ts";
import { isLockedForWriting } from "../../posix/index.ts";
import { type DiskSource, type SegmentInput, sharedBytes } from "../disk-source.ts";
import type { ImageSegment } from "../segments.ts";
import { decompressCluster, type DecompressZstd } from "./decompress.ts";
import { Qcow2Fault } from "./fault.ts";
import type { Qcow2Header } from "./header.ts";
import { type Layer, type LayerRun, Qcow2Layer } from "./layer.ts";
import { faultToFailure, fileBytes, openChain, type Qcow2Chain } from "./open-chain.ts";

export interface Qcow2Options {
  readonly backingDirs: readonly string[];
  /** See `openChain`; it is unless said otherwise. */
  readonly isCertain?: boolean;
  readonly zstd: DecompressZstd;
}

/** A run of the disk, resolved through its chain. */
interface DiskRun extends LayerRun {
  readonly kind: "zero" | "file" | "compressed";
  readonly layer: Layer;
}

interface Bytes {
  readonly cluster: Promise<Uint8Array>;
  readonly readBytes: number;
}

const readAt = promisify(read);

export class Qcow2Source implements DiskSource, Disposable {
  readonly path: string;
  readonly size: number;
  readonly chain: Qcow2Chain;
  readonly #zstd: DecompressZstd;
  readonly #states: readonly string[];

  /** @param fd  of the image; it is closed with the source, or on failure */
  constructor(fd: number, path: string, options: Qcow2Options) {
    this.chain = openChain(fd, path, options.backingDirs, options.isCertain ?? true);
    this.path = path;
    this.size = this.chain.header.size;
    this.#zstd = options.zstd;
    this.#states = this.chain.fds.map(stateOf);
  }

  *segments(segmentBytes: number): Generator<ImageSegment> {
    let at = 0;
    let allocated = 0;
    const most = this.#allocatedMost();
    for (const run of this.#runs(0, this.size)) {
      if (run.kind === "zero") continue;
      // Each byte of a file is part of the disk once.
      if (run.kind === "file") allocated += run.length;
      if (allocated > most)
        throw faultToFailure(this.path, new Qcow2Fault("its data clusters overlap"));
      const start = Math.max(at, run.offset - (run.offset % segmentBytes));
      const last = run.offset + run.length - 1;
      const end = Math.min(last - (last % segmentBytes) + segmentBytes, this.size);
      if (start > at) yield { offset: at, length: start - at, state: "hole" };
      for (at = start; at < end; at = Math.min(at + segmentBytes, end)) {
        const length = Math.min(segmentBytes, end - at);
        yield { offset: at, length, state: "data" };
      }
    }
    if (at < this.size) yield { offset: at, length: this.size - at, state: "hole" };
  }

  load({ offset, length }: ImageSegment): SegmentInput | Promise<SegmentInput> {
    const runs = [...this.#runs(offset, offset + length)].filter((run) => run.kind !== "zero");
    if (runs.some((run) => run.kind === "compressed")) return this.#unpack(offset, length);
    const places = runs.flatMap((run) => [
      run.offset - offset,
      run.length,
      run.layer.dataFd,
      run.hostOffset,
    ]);
    return { length, places: Float64Array.from(places) };
  }

  async read(offset: number, into: Uint8Array): Promise<number> {
    const clusters = new Map<string, Bytes>();
    let readBytes = 0;
    for (const run of this.#runs(offset, offset + into.length)) {
      const part = into.subarray(run.offset - offset, run.offset - offset + run.length);
      if (run.kind === "zero") part.fill(0);
      else if (run.kind === "file") {
        await readFully(run.layer.dataFd, part, run.hostOffset);
        readBytes += run.length;
      } else {
        const key = `${run.layer.path}:${run.hostOffset}`;
        const known = clusters.get(key);
        const bytes = known ?? this.#cluster(run);
        clusters.clear();
        clusters.set(key, bytes);
        if (known === undefined) readBytes += bytes.readBytes;
        const { clusterBytes } = headerOf(run.layer);
        const inside = run.offset % clusterBytes;
        part.set((await bytes.cluster).subarray(inside, inside + run.length));
      }
    }
    return readBytes;
  }

  changedSince(): string | undefined {
    if (this.chain.fds.some((fd) => isLockedForWriting(fd)))
      return "was opened by a machine while it was read";
    const isSame = this.chain.fds.every((fd, index) => stateOf(fd) === this.#states[index]);
    return isSame ? undefined : "changed while it was read";
  }

  close(): void {
    for (const fd of this.chain.fds) closeSync(fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async #unpack(offset: number, length: number): Promise<SegmentInput> {
    const bytes = sharedBytes(length);
    const readBytes = await this.read(offset, bytes);
    return { bytes, isEnd: false, readBytes };
  }

  #cluster(run: DiskRun): Bytes {
    const { clusterBytes, compression } = headerOf(run.layer);
    const fd = run.layer.dataFd;
    const host = Buffer.alloc(run.hostBytes);
    const cluster = readUpTo(fd, host, run.hostOffset)
      .then((count) =>
        decompressCluster(host.subarray(0, count), clusterBytes, compression, this.#zstd),
      )
      .catch((error: unknown) => {
        throw error instanceof Qcow2Fault ? faultToFailure(run.layer.path, error) : error;
      });
    return { cluster, readBytes: host.length };
  }

  *#runs(offset: number, end: number): Generator<DiskRun> {
    yield* this.#runsOf(0, offset, end);
  }

  /** Runs that joined: zeros of several layers are one hole. */
  *#runsOf(depth: number, offset: number, end: number): Generator<DiskRun> {
    const layer = this.chain.layers[depth];
    const top = this.chain.layers[0]!;
    const zero = (from: number, to: number): DiskRun => {
      const run = { offset: from, length: to - from, hostOffset: 0, hostBytes: 0 };
      return { kind: "zero", ...run, layer: layer ?? top };
    };
    // A backing file that is shorter than what stands on it reads as zeros behind its end.
    const inside = layer === undefined ? offset : Math.max(offset, Math.min(end, layer.size));
    if (layer !== undefined && inside > offset) {
      for (const run of told(layer, offset, inside)) {
        if (run.kind === "backing")
          yield* this.#runsOf(depth + 1, run.offset, run.offset + run.length);
        else yield { ...run, kind: run.kind, layer };
      }
    }
    if (inside < end) yield zero(inside, end);
  }

  #allocatedMost(): number {
    return this.chain.fds.reduce((sum, fd) => sum + fileBytes(fd), 0);
  }
}

function* told(layer: Layer, offset: number, end: number): Generator<LayerRun> {
  try {
    yield* layer.runs(offset, end);
  } catch (error) {
    throw error instanceof Qcow2Fault ? faultToFailure(layer.path, error) : error;
  }
}

function headerOf(layer: Layer): Qcow2Header {
  assert(layer instanceof Qcow2Layer, "only qcow2 files have compressed clusters");
  return layer.header;
}

/** Differs once the file was written to. */
function stateOf(fd: number): string {
  const { size, mtimeNs, ctimeNs } = fstatSync(fd, { bigint: true });
  return `${size} ${mtimeNs} ${ctimeNs}`;
}

async function readFully(fd: number, into: Uint8Array, offset: number): Promise<void> {
  if ((await readUpTo(fd, into, offset)) < into.length)
    throw new FailedError("it became shorter while it was read");
}

async function readUpTo(fd: number, into: Uint8Array, offset: number): Promise<number> {
  for (let at = 0; at < into.length;) {
    const { bytesRead } = await readAt(fd, into, at, into.length - at, offset + at);
    if (bytesRead === 0) return at;
    at += bytesRead;
  }
  return into.length;
}
