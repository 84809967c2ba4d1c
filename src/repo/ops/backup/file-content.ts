/** The content of ordinary files: small ones many at a time, large and sparse ones on their own. */
import type { FileExtent, FileProblem, SourceFile } from "../../../files/index.ts";
import { read } from "node:fs";
import { promisify } from "node:util";
import { printableName } from "../../../names.ts";
import type { BlobWriter, ChunkList, ReadFault, StoredStream } from "../../blobs/index.ts";
import type { ChunksContent, ListContent } from "../../format/index.ts";
import { ChunkListBuilder, type StoreTree } from "../tree-writer.ts";

export interface StoredFile {
  readonly content: ChunksContent | ListContent;
  /** Bytes in the content: what was there when it was read. */
  readonly bytes: number;
  /** It could not be read to its end: it stays out of the snapshot. */
  readonly fault?: ReadFault;
  /** It changed while it was read. */
  readonly change?: FileProblem;
}

/** Files up to this size go through the lanes in batches. */
export const smallFileBytes = 1024 * 1024;
const batchBytes = 4 * 1024 * 1024;
/** Also bounds how many files are open at once. */
const batchFiles = 128;

interface Waiting {
  readonly file: SourceFile;
  readonly resolve: (stored: StoredFile) => void;
  readonly reject: (error: unknown) => void;
}

export class FileStorer {
  readonly #writer: BlobWriter;
  readonly #storeTree: StoreTree;
  readonly #inFlightMost: number;
  readonly #inFlight = new Set<Promise<void>>();
  #waiting: Waiting[] = [];
  #waitingBytes = 0;

  constructor(writer: BlobWriter, storeTree: StoreTree, lanes: number) {
    this.#writer = writer;
    this.#storeTree = storeTree;
    this.#inFlightMost = Math.max(2, lanes + 1);
  }

  /**
   * Takes an open file, and closes it when it is stored.
   *
   * @returns soon, when there is room for the next: what was stored is in the inner promise
   */
  async add(file: SourceFile): Promise<{ readonly stored: Promise<StoredFile> }> {
    const stored = new Promise<StoredFile>((resolve, reject) => {
      const waiting = { file, resolve, reject };
      if (file.size > smallFileBytes) this.#start([waiting], () => this.#storeLarge(waiting));
      else {
        this.#waiting.push(waiting);
        this.#waitingBytes += file.size;
      }
    });
    stored.catch(() => undefined); // reported where the directory is built
    if (this.#waiting.length >= batchFiles || this.#waitingBytes >= batchBytes) this.flush();
    while (this.#inFlight.size >= this.#inFlightMost) await Promise.race(this.#inFlight);
    return { stored };
  }

  /** Sends off the batch that is being filled. */
  flush(): void {
    const batch = this.#waiting;
    if (batch.length === 0) return;
    this.#waiting = [];
    this.#waitingBytes = 0;
    this.#start(batch, () => this.#storeBatch(batch));
  }

  #start(batch: readonly Waiting[], store: () => Promise<void>): void {
    const work = store()
      .catch((error: unknown) => {
        for (const { reject } of batch) reject(error);
      })
      .finally(() => {
        for (const { file } of batch) file.close();
        this.#inFlight.delete(work);
      });
    this.#inFlight.add(work);
  }

  async #storeBatch(batch: readonly Waiting[]): Promise<void> {
    const results = await this.#writer.storeFiles(
      batch.map(({ file }) => ({ fd: file.fd, size: file.size })),
    );
    for (const [index, { file, resolve }] of batch.entries()) {
      const list = new ChunkListBuilder(this.#storeTree);
      const result = results[index]!;
      for (const chunk of chunksOf(result)) await list.add(chunk);
      resolve(await this.#finish(file, list, result));
    }
  }

  async #storeLarge({ file, resolve }: Waiting): Promise<void> {
    const list = new ChunkListBuilder(this.#storeTree);
    const take = async (chunks: ChunkList): Promise<void> => {
      for (const chunk of chunksOf(chunks)) await list.add(chunk);
    };
    let extents: readonly FileExtent[];
    try {
      extents = [...file.extents()];
    } catch (error) {
      resolve({ content: await list.finish(), bytes: 0, fault: readFault(error) });
      return;
    }
    if (extents.length === 1 && extents[0]!.kind === "data") {
      resolve(
        await this.#finish(file, list, await this.#writer.storeStream({ fd: file.fd }, take)),
      );
      return;
    }
    let bytes = 0;
    for (const extent of extents) {
      if (extent.kind === "zero") await list.add({ length: extent.length });
      else {
        const range = new FileRange(file, extent.offset, extent.length);
        const stored = await this.#writer.storeStream(range, take);
        if (range.fault !== undefined) {
          resolve({ content: await list.finish(), bytes, fault: range.fault });
          return;
        }
        // What was cut off meanwhile is missing from here on.
        if (stored.bytes < extent.length) {
          bytes += stored.bytes;
          break;
        }
      }
      bytes += extent.length;
    }
    resolve(await this.#finish(file, list, { bytes, fault: undefined }));
  }

  async #finish(
    file: SourceFile,
    list: ChunkListBuilder,
    result: Pick<StoredStream, "bytes" | "fault">,
  ): Promise<StoredFile> {
    const change = file.change();
    return {
      content: await list.finish(),
      bytes: result.bytes,
      ...(result.fault === undefined ? {} : { fault: result.fault }),
      ...(change === undefined ? {} : { change }),
    };
  }
}

/** Bytes that come from elsewhere, to their end. */
export async function storeBytes(
  writer: BlobWriter,
  storeTree: StoreTree,
  bytes: AsyncIterable<Uint8Array>,
): Promise<StoredFile> {
  const list = new ChunkListBuilder(storeTree);
  const stored = await writer.storeStream(bytes, async (chunks) => {
    for (const chunk of chunksOf(chunks)) await list.add(chunk);
  });
  return { content: await list.finish(), bytes: stored.bytes };
}

export function faultText(path: string, fault: ReadFault): string {
  return `Cannot read ${printableName(path)}: ${fault.message}. It is not in the snapshot`;
}

function* chunksOf({ lengths, ids }: ChunkList): Generator<{ length: number; id: Uint8Array }> {
  for (const [index, length] of lengths.entries())
    yield { length, id: ids.slice(index * 32, index * 32 + 32) };
}

const readBytes = 1024 * 1024;
const readAt = promisify(read);

/** A part of a file as a stream. Its end comes early where the file ends, and where it cannot be read. */
class FileRange implements AsyncIterable<Uint8Array> {
  readonly #file: SourceFile;
  readonly #offset: number;
  readonly #length: number;
  fault: ReadFault | undefined;

  constructor(file: SourceFile, offset: number, length: number) {
    this.#file = file;
    this.#offset = offset;
    this.#length = length;
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < this.#length;) {
      const piece = await this.#read(at, Math.min(readBytes, this.#length - at));
      if (piece.length === 0) return;
      yield piece;
      at += piece.length;
    }
  }

  async #read(at: number, length: number): Promise<Uint8Array> {
    const into = new Uint8Array(length);
    try {
      const { bytesRead } = await readAt(this.#file.fd, into, 0, length, this.#offset + at);
      return into.subarray(0, bytesRead);
    } catch (error) {
      this.fault = readFault(error);
      return into.subarray(0, 0);
    }
  }
}

function readFault(error: unknown): ReadFault {
  return { errno: undefined, message: error instanceof Error ? error.message : String(error) };
}
