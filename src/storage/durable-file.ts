/** Files that outlast a power cut, and reads that do not stop half-way. */
import { constants } from "node:fs";
import { type FileHandle, open, unlink } from "node:fs/promises";
import { errnoOf } from "./local-errors.ts";

/** Few system calls, and a signal is still seen while much is written. */
const bytesPerWrite = 16 * 1024 * 1024;
const partsPerWrite = 512;

/**
 * Makes a file of `parts`, which is on the disk (though its name may not be) when this returns.
 * Nothing is left at `path` when it throws; EEXIST says that `path` is somebody else's.
 */
export async function writeDurably(
  path: string,
  parts: readonly Uint8Array[],
  signal: AbortSignal | undefined,
): Promise<void> {
  const file = await open(path, "wx", 0o400);
  try {
    try {
      await writeAll(file, parts, signal);
      await file.sync();
    } finally {
      await file.close();
    }
  } catch (error) {
    await unlink(path).catch(() => undefined); // What went wrong first is what matters.
    throw error;
  }
}

/** The folder too: a name alone may be lost with the power. */
export async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await folder.sync();
  } catch (error) {
    const code = errnoOf(error);
    if (code !== "EINVAL" && code !== "ENOTSUP") throw error; // Some network file systems have no such call.
  } finally {
    await folder.close();
  }
}

/** @returns bytes read: fewer than asked for when the file ends */
export async function readFully(
  file: FileHandle,
  into: Uint8Array,
  offset: number,
): Promise<number> {
  let at = 0;
  while (at < into.length) {
    const { bytesRead } = await file.read(into, at, into.length - at, offset + at);
    if (bytesRead === 0) break;
    at += bytesRead;
  }
  return at;
}

async function writeAll(
  file: FileHandle,
  parts: readonly Uint8Array[],
  signal: AbortSignal | undefined,
): Promise<void> {
  let part = 0;
  let offset = 0;
  for (;;) {
    const batch: Uint8Array[] = [];
    let room = bytesPerWrite;
    for (let n = part, from = offset; n < parts.length && room > 0; n++, from = 0) {
      const piece = parts[n]!.subarray(from, from + room);
      if (piece.length > 0) batch.push(piece);
      room -= piece.length;
      if (batch.length === partsPerWrite) break;
    }
    if (batch.length === 0) return;
    signal?.throwIfAborted();
    // A write may stop anywhere, as when a disk fills up: the next one tells why.
    offset += (await file.writev(batch)).bytesWritten;
    while (part < parts.length && offset >= parts[part]!.length) offset -= parts[part++]!.length;
  }
}
