/** Reads objects and folders in as few answers one after another as the protocol lets. */
import { assert, CorruptionError, FailedError } from "../../errors.ts";
import type { ByteRange } from "../storage.ts";
import { type Entry, openFlag } from "./packets.ts";
import type { SftpSession } from "./session.ts";
import { ignoreAbsent } from "./sftp-errors.ts";
import { largeReads, readRange, smallReads, type TransferOptions } from "./transfer.ts";

/** No object is nearly as large: 64 MiB packs are the largest. */
const objectBytesMax = 256 * 1024 * 1024;
/** No folder of a repository has nearly as many. */
const entriesMost = 10_000_000;
/** Answers in a row that name nothing, and are not the end. */
const emptyAnswersMost = 100;

/** What nobody waits for, and may fail. */
export type TidyUp = (act: Promise<unknown>) => void;

export interface ReadOptions extends TransferOptions {
  readonly into: Uint8Array | undefined;
  readonly tidyUp: TidyUp;
}

/** Whole, or a range of it; undefined when there is none. @throws {CorruptionError} when it ends too early */
export async function readObject(
  session: SftpSession,
  path: string,
  range: ByteRange | undefined,
  { into, tidyUp, ...options }: ReadOptions,
): Promise<Uint8Array | undefined> {
  if (range?.length === 0) return readNothing(session, path, range.offset);
  const handle = await session.open(path, openFlag.read).catch(ignoreAbsent);
  if (handle === undefined) return undefined;
  const shape = session.isOpenSsh ? largeReads : smallReads;
  try {
    if (range !== undefined) {
      const bytes = memoryFor(range, into);
      await readRange(session, handle, range.offset, bytes, { ...options, shape });
      return bytes;
    }
    // Most objects that are read whole are small: their first bytes come with their size.
    const [{ size }, head] = await Promise.all([
      session.statHandle(handle),
      session.read(handle, 0, shape.pieceBytes),
    ]);
    options.signal?.throwIfAborted();
    if (size > objectBytesMax)
      throw new CorruptionError(`it has ${size} bytes, more than any object of a repository`);
    const bytes = memoryFor({ offset: 0, length: size }, into);
    const begun = Math.min(head?.length ?? 0, size);
    if (head !== undefined) bytes.set(head.subarray(0, begun));
    await options.pace?.receive(begun, options.signal);
    const rest = bytes.subarray(begun);
    if (begun < size) await readRange(session, handle, begun, rest, { ...options, shape });
    return bytes;
  } finally {
    tidyUp(session.close(handle));
  }
}

export async function readEntries(
  session: SftpSession,
  path: string,
  tidyUp: TidyUp,
): Promise<Entry[]> {
  const handle = await session.openFolder(path);
  const entries: Entry[] = [];
  // OpenSSH answers in order: the question whether that was all need not wait for the first answer.
  const asked = session.isOpenSsh ? 2 : 1;
  let empty = 0;
  try {
    for (;;) {
      const questions = Array.from({ length: asked }, () => session.readFolder(handle));
      for (const found of await Promise.all(questions)) {
        if (found === undefined) return entries;
        entries.push(...found);
        empty = found.length === 0 ? empty + 1 : 0;
        if (empty > emptyAnswersMost || entries.length > entriesMost)
          throw new FailedError("Cannot list a folder of the server: its list has no end");
      }
    }
  } finally {
    tidyUp(session.close(handle));
  }
}

async function readNothing(
  session: SftpSession,
  path: string,
  offset: number,
): Promise<Uint8Array | undefined> {
  const info = await session.stat(path).catch(ignoreAbsent);
  if (info !== undefined && info.size < offset)
    throw new CorruptionError(`it ends before byte ${offset}`);
  return info === undefined ? undefined : new Uint8Array(0);
}

function memoryFor({ offset, length }: ByteRange, into: Uint8Array | undefined): Uint8Array {
  assert(offset >= 0 && length >= 0, "a range begins and ends at or after 0");
  const bytes = into === undefined ? new Uint8Array(length) : into.subarray(0, length);
  assert(bytes.length === length, "a buffer holds the range read into it");
  return bytes;
}
