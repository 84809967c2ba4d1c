/** Extended attributes of paths, symlinks not followed. Where the system has none, a file has none. */
import { constants } from "node:os";

import type { ExtendedAttribute } from "../file-metadata.ts";
import { nameFromBytes } from "../names.ts";
import { cString } from "./c-string.ts";
import type { BytePath } from "./c-string.ts";
import { callOrThrow, hasCall, lastErrno, tryCall } from "./libc.ts";
import { PosixError } from "./posix-error.ts";

/** XATTR_SIZE_MAX and XATTR_LIST_MAX of linux/limits.h: what fits any local file system. */
const usualBytesMax = 65536;
/** What a network file system may come with at most. */
const bytesMax = 1 << 24;
let scratch: Buffer | undefined;

/** Names, in the system's order; empty where the file system has no attributes. */
export function listXattrs(path: BytePath): string[] {
  if (!hasCall("llistxattr")) return [];
  const terminated = cString(path, "llistxattr");
  const list = fill("llistxattr", terminated, (into) =>
    tryCall("llistxattr", terminated, into, into.length),
  );
  const names: string[] = [];
  for (let from = 0; list !== undefined && from < list.length;) {
    const end = list.indexOf(0, from);
    names.push(nameFromBytes(list.subarray(from, end)));
    from = end + 1;
  }
  return names;
}

/** The value, in memory of its own; `undefined` when the file has no such attribute. */
export function getXattr(path: BytePath, name: string): Uint8Array | undefined {
  if (!hasCall("lgetxattr")) return undefined;
  const terminated = cString(path, "lgetxattr");
  const key = cString(name, "lgetxattr");
  const value = fill("lgetxattr", terminated, (into) =>
    tryCall("lgetxattr", terminated, key, into, into.length),
  );
  return value === undefined ? undefined : new Uint8Array(value);
}

/** All attributes with their values; one that goes away in between is left out. */
export function readXattrs(path: BytePath): ExtendedAttribute[] {
  const found: ExtendedAttribute[] = [];
  for (const name of listXattrs(path)) {
    const value = getXattr(path, name);
    if (value !== undefined) found.push({ name, value });
  }
  return found;
}

/** Sets or replaces. @throws {PosixError} ENOTSUP where the file system has none, EPERM, ENOSPC, … */
export function setXattr(path: BytePath, name: string, value: Uint8Array): void {
  const terminated = cString(path, "lsetxattr");
  callOrThrow(
    "lsetxattr",
    bare(terminated),
    terminated,
    cString(name, "lsetxattr"),
    value,
    value.length,
    0,
  );
}

/** Removes; nothing happens when there is no such attribute. */
export function removeXattr(path: BytePath, name: string): void {
  const terminated = cString(path, "lremovexattr");
  if (tryCall("lremovexattr", terminated, cString(name, "lremovexattr")) !== -1) return;
  const errno = lastErrno();
  if (!isAbsence(errno))
    throw new PosixError(errno, "lremovexattr", nameFromBytes(bare(terminated)));
}

/** What `read` puts into a buffer that is large enough, valid until the next call; `undefined` for none. */
function fill(syscall: string, path: Buffer, read: (into: Buffer) => number): Buffer | undefined {
  let into = (scratch ??= Buffer.allocUnsafeSlow(usualBytesMax));
  for (;;) {
    const length = read(into);
    if (length !== -1) return into.subarray(0, length);
    const errno = lastErrno();
    if (isAbsence(errno)) return undefined;
    if (errno !== constants.errno.ERANGE || into.length >= bytesMax)
      throw new PosixError(errno, syscall, nameFromBytes(bare(path)));
    into = Buffer.allocUnsafeSlow(into.length * 2);
  }
}

function isAbsence(errno: number): boolean {
  const { ENODATA, ENOTSUP, EOPNOTSUPP, ENOSYS } = constants.errno;
  return [ENODATA, ENOTSUP, EOPNOTSUPP, ENOSYS].includes(errno);
}

function bare(terminated: Buffer): Buffer {
  return terminated.subarray(0, -1);
}
