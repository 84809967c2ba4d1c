/**
 * What a file of a backing chain says of a range of the disk: the part it holds, what reads as zeros, and
 * what its backing file is to be asked for. Runs that follow each other are given out as one.
 */
import { readSync } from "node:fs";
import { seekData, seekHole } from "../../posix/index.ts";
import { Qcow2Fault } from "./fault.ts";
import type { Qcow2Header } from "./header.ts";
import { decodeCluster, l2TableOffset, type ClusterPart } from "./mapping.ts";

export interface LayerRun {
  readonly kind: "zero" | "backing" | "file" | "compressed";
  readonly offset: number;
  readonly length: number;
  /** `file`: where the bytes lie; `compressed`: of all of its cluster. */
  readonly hostOffset: number;
  readonly hostBytes: number;
}

export interface Layer {
  /** For messages. */
  readonly path: string;
  readonly size: number;
  /** What holds its data. */
  readonly dataFd: number;
  /** @returns runs that cover the range, which lies within the size */
  runs(offset: number, end: number): Iterable<LayerRun>;
}

const tablesKeptBytes = 8 << 20;
/** Shorter holes of the host's file are read: a call costs more. */
const hostHoleBytesMin = 64 << 10;

/** A raw file or block device at the bottom of a chain. */
export class RawLayer implements Layer {
  readonly path: string;
  readonly size: number;
  readonly dataFd: number;

  constructor(path: string, fd: number, size: number) {
    this.path = path;
    this.dataFd = fd;
    this.size = size;
  }

  *runs(offset: number, end: number): Generator<LayerRun> {
    yield* presentRuns(this.dataFd, offset, offset, end - offset);
  }
}

export class Qcow2Layer implements Layer {
  readonly path: string;
  readonly header: Qcow2Header;
  readonly size: number;
  readonly fd: number;
  readonly dataFd: number;
  readonly #dataBytes: number;
  readonly #l1: BigUint64Array;
  readonly #fileBytes: number;
  /** L2 tables by offset, the last used last. */
  readonly #tables = new Map<number, Buffer>();
  /** By L2 table, the L1 entry that names it: none is named twice, so that a walk ends. */
  readonly #tableOwners = new Map<number, number>();

  /**
   * @param dataFd  of the external data file; `fd` where there is none
   * @param dataBytes  its length
   */
  constructor(
    path: string,
    header: Qcow2Header,
    file: { readonly fd: number; readonly bytes: number },
    data: { readonly fd: number; readonly bytes: number },
  ) {
    this.path = path;
    this.header = header;
    this.size = header.size;
    this.fd = file.fd;
    this.#fileBytes = file.bytes;
    this.dataFd = data.fd;
    this.#dataBytes = data.bytes;
    this.#l1 = this.#readL1();
  }

  *runs(offset: number, end: number): Generator<LayerRun> {
    let waiting: LayerRun | undefined;
    for (const run of this.#parts(offset, end)) {
      const joined = waiting && join(waiting, run);
      if (joined === undefined && waiting !== undefined) yield* this.#present(waiting);
      waiting = joined ?? run;
    }
    if (waiting !== undefined) yield* this.#present(waiting);
  }

  /** Allocated clusters may lie in holes of the host's file: preallocated ones do. */
  *#present(run: LayerRun): Generator<LayerRun> {
    if (run.kind !== "file") yield run;
    else yield* presentRuns(this.dataFd, run.hostOffset, run.offset, run.length, this.#dataBytes);
  }

  *#parts(from: number, end: number): Generator<LayerRun> {
    const { clusterBytes, hasExtendedL2 } = this.header;
    const entryBytes = hasExtendedL2 ? 16 : 8;
    const tableSpan = (clusterBytes / entryBytes) * clusterBytes;
    for (let at = from; at < end;) {
      const l1Index = Math.floor(at / tableSpan);
      const tableEnd = Math.min((l1Index + 1) * tableSpan, end);
      const table = this.#table(l1Index);
      if (table === undefined) {
        yield { kind: "backing", offset: at, length: tableEnd - at, hostOffset: 0, hostBytes: 0 };
        at = tableEnd;
        continue;
      }
      while (at < tableEnd) {
        const start = at - (at % clusterBytes);
        const place = ((start - l1Index * tableSpan) / clusterBytes) * entryBytes;
        const entry = table.readBigUInt64BE(place);
        const subclusters = hasExtendedL2 ? table.readBigUInt64BE(place + 8) : 0n;
        const clusterEnd = Math.min(start + clusterBytes, tableEnd);
        for (const part of decodeCluster(this.header, entry, subclusters)) {
          const partStart = Math.max(start + part.start, at);
          const partEnd = Math.min(start + part.start + part.length, clusterEnd);
          if (partEnd > partStart) yield this.#run(part, start, partStart, partEnd);
        }
        at = clusterEnd;
      }
    }
  }

  #run(part: ClusterPart, cluster: number, offset: number, end: number): LayerRun {
    const run = { offset, length: end - offset };
    switch (part.kind) {
      case "zero":
      case "backing":
        return { kind: part.kind, ...run, hostOffset: 0, hostBytes: 0 };
      case "data": {
        const hostOffset = part.hostOffset + (offset - cluster - part.start);
        if (part.hostOffset >= this.#dataBytes && !this.header.isDataFileRaw)
          throw new Qcow2Fault("a data cluster lies outside of the file");
        return { kind: "file", ...run, hostOffset, hostBytes: run.length };
      }
      case "compressed":
        if (part.hostOffset >= this.#fileBytes)
          throw new Qcow2Fault("a compressed cluster lies outside of the file");
        return {
          kind: "compressed",
          ...run,
          ...{ hostOffset: part.hostOffset, hostBytes: part.hostBytes },
        };
    }
  }

  #table(l1Index: number): Buffer | undefined {
    const { clusterBytes } = this.header;
    const offset = l2TableOffset(this.#l1[l1Index]!, clusterBytes);
    if (offset === undefined) return undefined;
    const known = this.#tables.get(offset);
    if (known !== undefined) {
      this.#tables.delete(offset);
      this.#tables.set(offset, known);
      this.#own(offset, l1Index);
      return known;
    }
    if (offset + clusterBytes > this.#fileBytes)
      throw new Qcow2Fault("an L2 table lies outside of the file");
    this.#own(offset, l1Index);
    const table = Buffer.allocUnsafeSlow(clusterBytes);
    readWhole(this.fd, table, offset);
    this.#tables.set(offset, table);
    const most = Math.max(4, tablesKeptBytes / clusterBytes);
    for (const oldest of this.#tables.keys()) {
      if (this.#tables.size <= most) break;
      this.#tables.delete(oldest);
    }
    return table;
  }

  #own(offset: number, l1Index: number): void {
    const owner = this.#tableOwners.get(offset);
    if (owner === undefined) this.#tableOwners.set(offset, l1Index);
    else if (owner !== l1Index) throw new Qcow2Fault("two L1 entries name one L2 table");
  }

  #readL1(): BigUint64Array {
    const { offset, count } = this.header.l1;
    const bytes = Buffer.allocUnsafeSlow(count * 8);
    readWhole(this.fd, bytes, offset);
    bytes.swap64();
    return new BigUint64Array(bytes.buffer, bytes.byteOffset, count);
  }
}

function join(a: LayerRun, b: LayerRun): LayerRun | undefined {
  if (a.kind !== b.kind || a.kind === "compressed") return undefined;
  if (a.kind === "file" && a.hostOffset + a.length !== b.hostOffset) return undefined;
  return { ...a, length: a.length + b.length, hostBytes: a.hostBytes + b.hostBytes };
}

/** Where the host's file has data; its holes, and what lies past its end, are zeros. */
function* presentRuns(
  fd: number,
  hostOffset: number,
  offset: number,
  length: number,
  fileBytes = Number.MAX_SAFE_INTEGER,
): Generator<LayerRun> {
  const zero = (at: number, end: number): LayerRun => ({
    kind: "zero",
    offset: at,
    length: end - at,
    hostOffset: 0,
    hostBytes: 0,
  });
  const shift = offset - hostOffset;
  const hostEnd = Math.min(hostOffset + length, Math.max(fileBytes, hostOffset));
  for (let at = hostOffset; at < hostEnd;) {
    const data = Math.min(seekData(fd, at) ?? hostEnd, hostEnd);
    if (data > at) yield zero(at + shift, data + shift);
    if (data === hostEnd) break;
    let end = data;
    for (
      let next: number | undefined = data;
      next !== undefined && next - end < hostHoleBytesMin;
    ) {
      end = Math.min(seekHole(fd, next) ?? hostEnd, hostEnd);
      if (end === hostEnd || end === next) break;
      next = seekData(fd, end);
    }
    if (end === data) end = hostEnd;
    yield {
      kind: "file",
      offset: data + shift,
      length: end - data,
      hostOffset: data,
      hostBytes: end - data,
    };
    at = end;
  }
  if (hostEnd < hostOffset + length) yield zero(hostEnd + shift, offset + length);
}

export function readWhole(fd: number, into: Buffer, offset: number): void {
  for (let at = 0; at < into.length;) {
    const count = readSync(fd, into, at, into.length - at, offset + at);
    if (count === 0) throw new Qcow2Fault("it became shorter while it was read");
    at += count;
  }
}
