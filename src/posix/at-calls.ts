/**
 * Acting on entries of open directories, so that nothing is written outside a target whatever symlinks it
 * holds, and whoever swaps them in meanwhile.
 *
 * Every name is one component, looked up in its parent's file descriptor and never followed. Descriptors
 * are plain numbers, closed with `closeSync`. Names are bytes, or strings as in src/names.ts.
 *
 * Where koffi does not load the same is done through /proc/self/fd/N/name, at two to three times the cost.
 */
import { closeSync, constants, fstatSync, chmodSync } from "node:fs";
import { constants as osConstants } from "node:os";

import type { FileType } from "../file-metadata.ts";
import { atCwd } from "./at-interface.ts";
import type { AtCalls } from "./at-interface.ts";
import { nativeAt } from "./at-native.ts";
import { procAt, procPath } from "./at-proc.ts";
import { cString, entryName } from "./c-string.ts";
import type { BytePath } from "./c-string.ts";
import { makeDevice } from "./device-numbers.ts";
import type { DeviceNumber } from "./device-numbers.ts";
import { callOrThrow, hasCall } from "./libc.ts";
import type { CallName } from "./libc.ts";
import { PosixError } from "./posix-error.ts";
import { modeOfType } from "./stat-ns.ts";
import type { StatNs } from "./stat-ns.ts";

/** linux/fcntl.h; not among Node's constants. A descriptor that names a file without opening it. */
const oPath = 0o10000000;

const needed: readonly CallName[] = [
  "openat",
  "mkdirat",
  "symlinkat",
  "linkat",
  "unlinkat",
  "renameat",
  "statx",
  "utimensat",
  "fchownat",
];
let chosen: AtCalls | undefined;

function calls(): AtCalls {
  return (chosen ??= needed.every(hasCall) ? nativeAt : procAt);
}

/**
 * Opens a directory for use with the other calls.
 *
 * @param dir its parent; `undefined`: `name` is a whole path, followed as usual (the target itself)
 * @throws {PosixError} ENOTDIR or ELOOP when the entry is something else, symlinks included
 */
export function openDirAt(dir: number | undefined, name: BytePath): number {
  const flags = constants.O_RDONLY | constants.O_DIRECTORY;
  if (dir === undefined) return calls().open(atCwd, cString(name, "openat"), flags, 0);
  return openFileAt(dir, name, flags, 0);
}

/**
 * Opens an entry that is no symlink; to make a new file say O_CREAT | O_EXCL.
 *
 * @param flags of fs.constants, O_NOFOLLOW is added
 */
export function openFileAt(dir: number, name: BytePath, flags: number, mode = 0): number {
  return calls().open(
    dir,
    entryName(name, "openat"),
    flags | constants.O_NOFOLLOW | constants.O_NOCTTY,
    mode,
  );
}

export function mkdirAt(dir: number, name: BytePath, mode: number): void {
  calls().mkdir(dir, entryName(name, "mkdirat"), mode);
}

/** Makes the symlink `name`; its target may be any path, it is not looked at. */
export function symlinkAt(target: BytePath, dir: number, name: BytePath): void {
  calls().symlink(cString(target, "symlinkat"), dir, entryName(name, "symlinkat"));
}

/** Hard link; a symlink at `from` is linked itself. */
export function linkAt(fromDir: number, from: BytePath, toDir: number, to: BytePath): void {
  calls().link(fromDir, entryName(from, "linkat"), toDir, entryName(to, "linkat"));
}

/** Removes an entry that is no directory. */
export function unlinkAt(dir: number, name: BytePath): void {
  calls().unlink(dir, entryName(name, "unlinkat"));
}

/** Removes an empty directory. */
export function rmdirAt(dir: number, name: BytePath): void {
  calls().rmdir(dir, entryName(name, "unlinkat"));
}

/** Replaces what is at `to`. */
export function renameAt(fromDir: number, from: BytePath, toDir: number, to: BytePath): void {
  calls().rename(fromDir, entryName(from, "renameat"), toDir, entryName(to, "renameat"));
}

/** What the entry is, symlinks not followed; `undefined` when there is none. */
export function fstatatNs(dir: number, name: BytePath): StatNs | undefined {
  return calls().stat(dir, entryName(name, "statx"));
}

/** As `fstatatNs`, for a whole path; only its last component is not followed. */
export function lstatNs(path: BytePath): StatNs | undefined {
  return calls().stat(atCwd, cString(path, "statx"));
}

export function utimensAt(dir: number, name: BytePath, atimeNs: bigint, mtimeNs: bigint): void {
  calls().utimes(dir, entryName(name, "utimensat"), atimeNs, mtimeNs);
}

/** As `utimensAt`, for a whole path; only its last component is not followed. */
export function utimesNs(path: BytePath, atimeNs: bigint, mtimeNs: bigint): void {
  calls().utimes(atCwd, cString(path, "utimensat"), atimeNs, mtimeNs);
}

export function fchownAt(dir: number, name: BytePath, uid: number, gid: number): void {
  calls().chown(dir, entryName(name, "fchownat"), uid, gid);
}

/**
 * Sets the low 12 bits of an entry's mode. For what has a descriptor of its own, `fchmodSync` is cheaper.
 *
 * @throws {PosixError} ENOTSUP for a symlink: Linux keeps no mode for it
 */
export function fchmodAt(dir: number, name: BytePath, mode: number): void {
  const fd = openFileAt(dir, name, oPath);
  try {
    if (fstatSync(fd).isSymbolicLink())
      throw new PosixError(osConstants.errno.EOPNOTSUPP, "fchmodat");
    // The descriptor cannot chmod, but its name in /proc leads to the very file it holds.
    chmodSync(`/proc/self/fd/${fd}`, mode);
  } finally {
    closeSync(fd);
  }
}

/**
 * Makes a device, fifo, socket or empty file. `mode` is the low 12 bits, taken down by the umask.
 *
 * @throws {PosixError} EPERM without CAP_MKNOD, ENOSYS without koffi
 */
export function mknodAt(
  dir: number,
  name: BytePath,
  type: FileType,
  mode: number,
  device?: DeviceNumber,
): void {
  const node = entryName(name, "mknodat");
  makeNode(dir, node, type, mode, device);
}

/** As `mknodAt`, for a whole path. */
export function mknod(
  path: BytePath,
  type: FileType,
  mode: number,
  major: number,
  minor: number,
): void {
  makeNode(atCwd, cString(path, "mknodat"), type, mode, { major, minor });
}

export function mkfifo(path: BytePath, mode: number): void {
  makeNode(atCwd, cString(path, "mknodat"), "fifo", mode, undefined);
}

function makeNode(
  dir: number,
  name: Buffer,
  type: FileType,
  mode: number,
  device: DeviceNumber | undefined,
): void {
  const rdev = makeDevice(device ?? { major: 0, minor: 0 });
  callOrThrow("mknodat", name.subarray(0, -1), dir, name, modeOfType(type) | (mode & 0o7777), rdev);
}

/** A path of the entry for calls that take only paths (extended attributes): its parent cannot be swapped. */
export function pathAt(dir: number, name: BytePath): Buffer {
  return procPath(dir, entryName(name, "open"));
}
