/**
 * Byte streams through the lanes, window by window: files by descriptor, small ones many a window,
 * and bytes that come from elsewhere.
 *
 * A window ends anywhere; the bytes behind its last certain cut are presented again in the next, so
 * chunks do not depend on windows.
 */
import { assert } from "../../errors.ts";
import { idBytes } from "../format/index.ts";
import type { CutPart, CutSource, ReadFault } from "./lane-messages.ts";
import type { CutAnswer } from "./lane-pool.ts";

/** Consecutive chunks: a length and 32 bytes of id each. */
export interface ChunkList {
  readonly lengths: Uint32Array;
  readonly ids: Uint8Array;
}

export interface StoredStream extends ChunkList {
  /** What there was; a file may have changed since its size was asked. */
  readonly bytes: number;
  /** It could not be read to its end; the chunks are those before. */
  readonly fault: ReadFault | undefined;
}

export interface Windows {
  bytes(): number;
  cut(parts: readonly CutSource[]): Promise<CutAnswer>;
  wantNew(cut: CutAnswer, isWanted: (part: CutPart) => boolean): Uint8Array;
}

type Take = (chunks: ChunkList) => void | Promise<void>;

export async function readStream(
  windows: Windows,
  source: { readonly fd: number } | AsyncIterable<Uint8Array>,
  take: Take | undefined,
): Promise<StoredStream> {
  const kept: ChunkList[] = [];
  const each: Take = take ?? ((chunks) => void kept.push(chunks));
  const end = await ("fd" in source
    ? readFile(windows, source.fd, each)
    : readBytes(windows, source, each));
  return { ...join(kept), ...end };
}

type StreamEnd = Pick<StoredStream, "bytes" | "fault">;

async function readFile(windows: Windows, fd: number, take: Take): Promise<StreamEnd> {
  for (let offset = 0; ;) {
    const { part, consumed } = await cutWindow(
      windows,
      { fd, offset, length: windows.bytes() },
      take,
    );
    offset += consumed;
    if (part.fault !== undefined || part.isEnd) return { bytes: offset, fault: part.fault };
    assert(consumed > 0, "a full window has a certain cut");
  }
}

async function readBytes(
  windows: Windows,
  source: AsyncIterable<Uint8Array>,
  take: Take,
): Promise<StreamEnd> {
  const window = new Uint8Array(new SharedArrayBuffer(windows.bytes()));
  let filled = 0;
  let total = 0;
  const cut = async (isEnd: boolean): Promise<void> => {
    const bytes = window.subarray(0, filled);
    const { consumed } = await cutWindow(windows, { bytes, isEnd }, take);
    assert(consumed > 0 || isEnd, "a full window has a certain cut");
    window.copyWithin(0, consumed, filled);
    filled -= consumed;
    total += consumed;
  };
  for await (const piece of source) {
    for (let at = 0; at < piece.length;) {
      const count = Math.min(piece.length - at, window.length - filled);
      window.set(piece.subarray(at, at + count), filled);
      filled += count;
      at += count;
      if (filled === window.length) await cut(false);
    }
  }
  await cut(true);
  return { bytes: total, fault: undefined };
}

async function cutWindow(
  windows: Windows,
  source: CutSource,
  take: Take,
): Promise<{ part: CutPart; consumed: number }> {
  const cut = await windows.cut([source]);
  cut.store(windows.wantNew(cut, () => true));
  await take({ lengths: cut.lengths, ids: cut.ids });
  return { part: cut.parts[0]!, consumed: cut.lengths.reduce((sum, length) => sum + length, 0) };
}

interface FileToStore {
  readonly fd: number;
  readonly size: number;
}

const filesPerWindowMost = 512;

export async function readWindows(
  windows: Windows,
  files: readonly FileToStore[],
): Promise<StoredStream[]> {
  const results: Promise<StoredStream[]>[] = [];
  for (const batch of batches(files, windows.bytes())) {
    const result = readBatch(windows, batch);
    // Reported below, in order.
    result.catch(() => undefined);
    results.push(result);
  }
  return (await Promise.all(results)).flat();
}

/** Consecutive files that fit a window together, each with one byte more: so an end is seen. */
function* batches(files: readonly FileToStore[], windowBytes: number): Generator<FileToStore[]> {
  let batch: FileToStore[] = [];
  let bytes = 0;
  for (const file of files) {
    if (batch.length === filesPerWindowMost || bytes + file.size + 1 > windowBytes) {
      if (batch.length > 0) yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push(file);
    bytes += file.size + 1;
  }
  if (batch.length > 0) yield batch;
}

async function readBatch(windows: Windows, files: readonly FileToStore[]): Promise<StoredStream[]> {
  if (files[0]!.size + 1 > windows.bytes()) {
    return [await readStream(windows, files[0]!, undefined)];
  }
  const cut = await windows.cut(files.map(({ fd, size }) => ({ fd, offset: 0, length: size + 1 })));
  // A file that grew meanwhile is cut alone, from its start: its end is not in this window.
  cut.store(windows.wantNew(cut, (part) => part.isEnd));
  const results: StoredStream[] = [];
  let at = 0;
  for (const [index, part] of cut.parts.entries()) {
    const end = at + part.chunkCount;
    const chunks = {
      lengths: cut.lengths.slice(at, end),
      ids: cut.ids.slice(at * idBytes, end * idBytes),
    };
    const grew = !part.isEnd && part.fault === undefined;
    results.push(
      grew
        ? await readStream(windows, files[index]!, undefined)
        : { ...chunks, bytes: part.bytes, fault: part.fault },
    );
    at = end;
  }
  return results;
}

function join(lists: readonly ChunkList[]): ChunkList {
  const count = lists.reduce((sum, list) => sum + list.lengths.length, 0);
  const lengths = new Uint32Array(count);
  const ids = new Uint8Array(count * idBytes);
  let at = 0;
  for (const list of lists) {
    lengths.set(list.lengths, at);
    ids.set(list.ids, at * idBytes);
    at += list.lengths.length;
  }
  return { lengths, ids };
}
