/**
 * Copies a guest's files to this host: bytes, modes and times, owners where we may, links as links.
 * Nothing that exists is written over, and a file that could not be copied whole is not left.
 */
import {
  chmodSync,
  chownSync,
  constants,
  lchownSync,
  lutimesSync,
  mkdirSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
} from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { FailedError } from "../errors.ts";
import { nameFromBytes, nameToBytes, printableName } from "../names.ts";
import { type GuestEntry, walk } from "./browse.ts";

export interface CopyOutOptions {
  readonly isRoot: boolean;
  readonly signal: AbortSignal;
  /** Told of what was left out; the rest is copied. */
  readonly onLeftOut: (text: string) => void;
}

export interface CopiedOut {
  readonly files: number;
  readonly bytes: number;
}

const partBytes = 1 << 20;
/** Zeros of such blocks become holes. */
const holeBytes = 65_536;
const zeros = Buffer.alloc(holeBytes);

/** @throws {FailedError} when the target is there */
export async function copyOut(
  entry: GuestEntry,
  target: Buffer,
  options: CopyOutOptions,
): Promise<CopiedOut> {
  if (entry.type !== "dir") return copyEntry(entry, target, options);
  const made: { readonly entry: GuestEntry; readonly place: Buffer }[] = [];
  const makeFolder = (folder: GuestEntry, place: Buffer): void => {
    make(place, () => {
      mkdirSync(place, { mode: 0o700 });
    });
    made.push({ entry: folder, place });
  };
  makeFolder(entry, target);
  let [files, bytes] = [0, 0];
  for await (const each of walk(entry)) {
    options.signal.throwIfAborted();
    const place = Buffer.concat([target, each.place.subarray(entry.place.length)]);
    if (each.type === "dir") makeFolder(each, place);
    else {
      try {
        const copied = await copyEntry(each, place, options);
        files += copied.files;
        bytes += copied.bytes;
      } catch (error) {
        if (!(error instanceof FailedError)) throw error;
        options.onLeftOut(error.message);
      }
    }
  }
  // Deepest first, when nothing is put into them any more.
  for (const { entry: folder, place } of made.reverse()) giveMetadata(folder, place, options);
  return { files, bytes };
}

async function copyEntry(
  entry: GuestEntry,
  target: Buffer,
  options: CopyOutOptions,
): Promise<CopiedOut> {
  if (entry.type === "symlink") {
    make(target, () => {
      symlinkSync(nameToBytes(entry.linkTarget!), target);
    });
    giveMetadata(entry, target, options);
    return { files: 1, bytes: 0 };
  }
  if (entry.type !== "file") {
    options.onLeftOut(`Left out ${printableName(entry.path)}: a ${entry.type} is no file`);
    return { files: 0, bytes: 0 };
  }
  const bytes = await copyFile(entry, target, options.signal);
  giveMetadata(entry, target, options);
  return { files: 1, bytes };
}

async function copyFile(entry: GuestEntry, target: Buffer, signal: AbortSignal): Promise<number> {
  const output = await opened(target, "wx");
  try {
    try {
      const size = Number(entry.stat.size);
      let end = 0;
      for await (const part of contentOf(entry, signal)) {
        for (let at = 0; at < part.length; at += holeBytes) {
          const block = part.subarray(at, at + holeBytes);
          if (!block.equals(zeros.subarray(0, block.length)))
            await output.write(block, 0, block.length, end + at);
        }
        end += part.length;
      }
      await output.truncate(end);
      if (end < size) throw new Error(`it ends after ${end} of ${size} bytes`);
      return end;
    } finally {
      await output.close();
    }
  } catch (cause) {
    unlinkSync(target);
    if (signal.aborted) throw cause;
    throw new FailedError(`Cannot copy ${printableName(entry.path)}: ${(cause as Error).message}`, {
      cause,
    });
  }
}

/** A file's bytes in order. Parts are valid until the next is asked for. */
export async function* contentOf(entry: GuestEntry, signal: AbortSignal): AsyncGenerator<Buffer> {
  const input = await opened(entry.place, constants.O_RDONLY | constants.O_NOFOLLOW);
  try {
    const part = Buffer.alloc(partBytes);
    for (;;) {
      signal.throwIfAborted();
      const { bytesRead } = await input.read(part, 0, partBytes, null);
      if (bytesRead === 0) return;
      yield part.subarray(0, bytesRead);
    }
  } finally {
    await input.close();
  }
}

async function opened(place: Buffer, flags: string | number): Promise<FileHandle> {
  try {
    return await open(place, flags, 0o600);
  } catch (cause) {
    throw cannotMake(place, cause);
  }
}

function make(place: Buffer, act: () => void): void {
  try {
    act();
  } catch (cause) {
    throw cannotMake(place, cause);
  }
}

function cannotMake(place: Buffer, cause: unknown): FailedError {
  const name = printableName(nameFromBytes(place));
  if ((cause as NodeJS.ErrnoException).code === "EEXIST") {
    return new FailedError(`Cannot write ${name}: it exists`, {
      cause,
      hint: "Name another target, or a folder: nothing is written over",
    });
  }
  return new FailedError(`Cannot open ${name}: ${(cause as Error).message}`, { cause });
}

/**
 * Nothing of a guest lends out rights on this host: its programs are files here, whoever owns them.
 */
function giveMetadata({ type, stat }: GuestEntry, place: Buffer, { isRoot }: CopyOutOptions): void {
  const [uid, gid] = [Number(stat.uid), Number(stat.gid)];
  const seconds = (ns: bigint): number => Number(ns) / 1e9;
  const [accessed, modified] = [seconds(stat.atimeNs), seconds(stat.mtimeNs)];
  if (type === "symlink") {
    if (isRoot) lchownSync(place, uid, gid);
    lutimesSync(place, accessed, modified);
    return;
  }
  if (isRoot) chownSync(place, uid, gid);
  chmodSync(place, Number(stat.mode) & (type === "dir" ? 0o1777 : 0o777));
  utimesSync(place, accessed, modified);
}
