/** A disk that an NBD server exports. */
import {
  allocationFlag,
  baseAllocation,
  NbdClient,
  parseNbdUri,
  printableAddress,
  type NbdAddress,
  type NbdClientOptions,
} from "../nbd/index.ts";
import { FailedError } from "../errors.ts";
import { type DiskRange, type DiskSource, type SegmentInput, sharedBytes } from "./disk-source.ts";
import { segmentsOfExtents } from "./extent-segments.ts";
import type { ImageSegment } from "./segments.ts";

const dirtyFlag = 1;

export interface NbdSourceOptions extends Omit<NbdClientOptions, "contexts"> {
  /** For messages, instead of the server's address. */
  readonly path?: string;
  /** Dirty bitmaps of the export, by their contexts' names; they must be there. */
  readonly dirtyContexts?: readonly string[];
}

export class NbdSource implements DiskSource {
  readonly path: string;
  readonly #client: NbdClient;

  private constructor(client: NbdClient, path: string) {
    this.#client = client;
    this.path = path;
  }

  static async open(
    where: string | NbdAddress,
    options: NbdSourceOptions = {},
  ): Promise<NbdSource> {
    const address = typeof where === "string" ? parseNbdUri(where) : where;
    const { dirtyContexts = [], path = printableAddress(address) } = options;
    const contexts = [baseAllocation, ...dirtyContexts];
    const client = await NbdClient.open(address, { ...options, contexts });
    const missing = dirtyContexts.find((context) => !client.hasContext(context));
    if (missing !== undefined) {
      client.close();
      throw new FailedError(`Cannot read what changed on ${path}: it has no "${missing}"`);
    }
    return new NbdSource(client, path);
  }

  get size(): number {
    return this.#client.size;
  }

  /** What a dirty bitmap says may have changed; ascending, neighbours joined. */
  async changes(dirtyContext: string): Promise<DiskRange[]> {
    const ranges: { offset: number; length: number }[] = [];
    for await (const { offset, length, flags } of this.#client.extents()) {
      if (((flags.get(dirtyContext) ?? dirtyFlag) & dirtyFlag) === 0) continue;
      const last = ranges.at(-1);
      if (last !== undefined && last.offset + last.length === offset) last.length += length;
      else ranges.push({ offset, length });
    }
    return ranges;
  }

  segments(segmentBytes: number): AsyncIterable<ImageSegment> {
    return segmentsOfExtents(this.#data(), this.size, segmentBytes);
  }

  async load({ length, offset, extents }: ImageSegment): Promise<SegmentInput> {
    const bytes = sharedBytes(length);
    const pairs = extents ?? Float64Array.of(0, length);
    const reads: Promise<number>[] = [];
    for (let pair = 0; pair < pairs.length; pair += 2) {
      const start = pairs[pair]!;
      reads.push(this.read(offset + start, bytes.subarray(start, start + pairs[pair + 1]!)));
    }
    let readBytes = 0;
    // The memory is a lane's only once nobody writes to it any more.
    for (const result of await Promise.allSettled(reads)) {
      if (result.status === "rejected") throw result.reason;
      readBytes += result.value;
    }
    return { bytes, isEnd: false, readBytes };
  }

  read(offset: number, into: Uint8Array): Promise<number> {
    return this.#client.read(offset, into);
  }

  /** A server's disk may change under it, and cannot tell. */
  changedSince(): undefined {
    return undefined;
  }

  close(): void {
    this.#client.close();
  }

  async *#data(): AsyncGenerator<DiskRange> {
    for await (const { offset, length, flags } of this.#client.extents())
      // Only this proves zeros: what is merely a hole may read as anything.
      if (((flags.get(baseAllocation) ?? 0) & allocationFlag.zero) === 0) yield { offset, length };
  }
}
