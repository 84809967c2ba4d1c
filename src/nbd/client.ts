/** An export of an NBD server as a disk: its size, its map, its bytes, over as many connections as help. */
import type { NbdAddress } from "./client-address.ts";
import { NbdConnection, type NbdConnectOptions } from "./client-connection.ts";
import type { NbdExport } from "./client-handshake.ts";
import { transmissionFlag } from "./protocol-constants.ts";
import { NbdProtocolError } from "./protocol-bytes.ts";
import type { StatusExtent } from "./protocol-requests.ts";

export interface NbdClientOptions extends NbdConnectOptions {
  /** At most; more than one only where the server says that all see the same. */
  readonly connections?: number;
}

/** A run of the export of which the server says one thing. */
export interface NbdExtent {
  readonly offset: number;
  readonly length: number;
  /** By meta context; what was not granted is not there. */
  readonly flags: ReadonlyMap<string, number>;
}

const defaultConnections = 2;
/** Several requests share a segment: the server reads ahead while the first is on its way. */
const requestBytes = 1 << 20;
/** Asked of at once; a multiple of every block size. */
const statusBytes = 1 << 30;

export class NbdClient implements Disposable {
  readonly export: NbdExport;
  readonly #connections: NbdConnection[];
  #next = 0;

  private constructor(connections: NbdConnection[]) {
    this.#connections = connections;
    this.export = connections[0]!.export;
  }

  static async open(address: NbdAddress, options: NbdClientOptions = {}): Promise<NbdClient> {
    const first = await NbdConnection.connect(address, options);
    const connections = [first];
    const canMany = (first.export.flags & transmissionFlag.canMultiConn) !== 0;
    const wanted = canMany ? (options.connections ?? defaultConnections) : 1;
    try {
      while (connections.length < wanted) {
        const next = await NbdConnection.connect(address, { ...options, contexts: [] });
        connections.push(next);
        if (next.export.size !== first.export.size)
          throw new NbdProtocolError("two connections see an export of different sizes");
      }
      return new NbdClient(connections);
    } catch (error) {
      for (const connection of connections) connection.close();
      throw error;
    }
  }

  get size(): number {
    return this.export.size;
  }

  hasContext(name: string): boolean {
    return [...this.export.contexts.values()].includes(name);
  }

  /**
   * Fills all of `into` from `offset` on, within the export.
   *
   * @returns how many bytes came over the line for it
   */
  async read(offset: number, into: Uint8Array): Promise<number> {
    const { blockBytesMin, requestBytesMax } = this.export;
    const end = Math.min(alignUp(offset + into.length, blockBytesMin), this.size);
    const start = offset - (offset % blockBytesMin);
    if (start !== offset || end !== offset + into.length) {
      const whole = new Uint8Array(end - start);
      const came = await this.read(start, whole);
      into.set(whole.subarray(offset - start, offset - start + into.length));
      return came;
    }
    const step = Math.min(requestBytes, requestBytesMax - (requestBytesMax % blockBytesMin));
    const parts: Promise<number>[] = [];
    for (let at = 0; at < into.length; at += step) {
      const part = into.subarray(at, Math.min(at + step, into.length));
      const connection = this.#connections[this.#next++ % this.#connections.length]!;
      parts.push(connection.read(offset + at, part));
    }
    // All of them end before the memory is anyone's again.
    let came = 0;
    for (const result of await Promise.allSettled(parts)) {
      if (result.status === "rejected") throw result.reason;
      came += result.value;
    }
    return came;
  }

  /** The whole export in order; without any context, one extent of which nothing is known. */
  async *extents(): AsyncGenerator<NbdExtent> {
    const names = [...this.export.contexts.values()];
    if (names.length === 0) {
      if (this.size > 0) yield { offset: 0, length: this.size, flags: new Map() };
      return;
    }
    for (let at = 0; at < this.size;) {
      const length = Math.min(statusBytes - (at % statusBytes), this.size - at);
      const answer = await this.#connections[0]!.status(at, length);
      const rows = names.map((name) => new ContextCursor(name, answer.get(name) ?? []));
      // Contexts may be told of to different lengths: what all of them cover is taken.
      const covered = Math.min(this.size - at, ...rows.map((row) => row.total));
      if (covered <= 0) throw new NbdProtocolError("the server says nothing of a part of the disk");
      yield* commonExtents(rows, at, covered);
      at += covered;
    }
  }

  close(): void {
    for (const connection of this.#connections) connection.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Walks one context's extents. */
class ContextCursor {
  readonly name: string;
  readonly total: number;
  readonly #extents: readonly StatusExtent[];
  #index = 0;
  #left: number;

  constructor(name: string, extents: readonly StatusExtent[]) {
    this.name = name;
    this.#extents = extents;
    this.total = extents.reduce((sum, extent) => sum + extent.length, 0);
    this.#left = extents[0]?.length ?? 0;
  }

  get left(): number {
    return this.#left;
  }

  get flags(): number {
    return this.#extents[this.#index]?.flags ?? 0;
  }

  advance(length: number): void {
    this.#left -= length;
    if (this.#left === 0) this.#left = this.#extents[++this.#index]?.length ?? 0;
  }
}

function* commonExtents(
  rows: readonly ContextCursor[],
  offset: number,
  covered: number,
): Generator<NbdExtent> {
  for (let at = 0; at < covered;) {
    const length = Math.min(covered - at, ...rows.map((row) => row.left));
    yield {
      offset: offset + at,
      length,
      flags: new Map(rows.map((row) => [row.name, row.flags])),
    };
    for (const row of rows) row.advance(length);
    at += length;
  }
}

function alignUp(offset: number, unit: number): number {
  return Math.ceil(offset / unit) * unit;
}
