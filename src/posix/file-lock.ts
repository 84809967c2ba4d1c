/** Locks of whole files that QEMU heeds too: it takes the same kind on images it has open. */
import { constants } from "node:os";

import { hasCall, lastErrno, tryCall } from "./libc.ts";

// fcntl.h: locks that belong to the open file, so closing another descriptor of it does not drop them.
const setLock = 37;
const writeLock = 1;
/** `struct flock`: i16 type, i16 whence, i64 start at 8, i64 length at 16 (0: to the end, wherever that is). */
const flockBytes = 32;

/**
 * Takes the write lock of a file, held until `fd` is closed. Advisory: it keeps out only who asks.
 *
 * @returns false when someone else holds a lock on any part of it; true as well where there are no locks
 */
export function lockFile(fd: number): boolean {
  if (!hasCall("fcntl")) return true;
  const lock = new Int16Array(flockBytes / 2);
  lock[0] = writeLock;
  if (tryCall("fcntl", fd, setLock, lock) !== -1) return true;
  return ![constants.errno.EAGAIN, constants.errno.EACCES].includes(lastErrno());
}
