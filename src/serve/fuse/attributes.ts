/** What `stat` shows of an entry, as the binding takes it. */
import type { FileType } from "../../file-metadata.ts";
import { makeDevice } from "../../posix/index.ts";
import type { DirectoryEntry } from "../../repo/format/index.ts";
import { shownName } from "./shown-names.ts";

/** Times in milliseconds, which is all that the binding carries. */
export interface Attributes {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly blocks: number;
  readonly nlink: number;
  readonly ino: number;
  readonly rdev: number;
  readonly atime: number;
  readonly mtime: number;
  readonly ctime: number;
}

const typeBits: Readonly<Record<FileType, number>> = {
  fifo: 0o010000,
  chardev: 0o020000,
  dir: 0o040000,
  blockdev: 0o060000,
  file: 0o100000,
  symlink: 0o120000,
  socket: 0o140000,
};

export function entryAttributes({ metadata }: DirectoryEntry, ino: number): Attributes {
  const { type, mode, uid, gid, size, links, rdev, linkTarget } = metadata;
  const { atimeNs, mtimeNs, ctimeNs } = metadata;
  return {
    mode: typeBits[type] | mode,
    uid,
    gid,
    size: linkTarget === undefined ? size : Buffer.byteLength(shownName(linkTarget)),
    blocks: Math.ceil(size / 512),
    nlink: Math.max(1, links),
    ino,
    rdev: rdev === undefined ? 0 : Number(makeDevice(rdev) & 0xffff_ffffn),
    atime: milliseconds(atimeNs),
    mtime: milliseconds(mtimeNs),
    ctime: milliseconds(ctimeNs),
  };
}

/** Of what only the mount has: its own folders and links. */
export function ownAttributes(
  type: "dir" | "symlink",
  { ino, timeMs, size }: { readonly ino: number; readonly timeMs: number; readonly size: number },
): Attributes {
  return {
    mode: typeBits[type] | (type === "dir" ? 0o555 : 0o777),
    uid: process.getuid?.() ?? 0,
    gid: process.getgid?.() ?? 0,
    size,
    blocks: 0,
    nlink: 1,
    ino,
    rdev: 0,
    atime: timeMs,
    mtime: timeMs,
    ctime: timeMs,
  };
}

/** The binding counts from 1970 on. */
function milliseconds(timeNs: bigint): number {
  return timeNs < 0n ? 0 : Number(timeNs / 1_000_000n);
}
