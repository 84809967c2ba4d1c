/** Locks of whole files that QEMU heeds too: it takes the same kind on images it has open. */
import { constants } from "node:os";

import { hasCall, lastErrno, tryCall } from "./libc.ts";

// fcntl.h: locks that belong to the open file, so closing another descriptor of it does not drop them.
const setLock = 37;
const getLock = 36;
const writeLock = 1;
const unlocked = 2;
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

/**
 * The bytes that QEMU locks for what it does with an image: one a permission, from 100 on.
 *
 * @see QEMU, block/file-posix.c: RAW_LOCK_PERM_BASE, and BLK_PERM_WRITE and BLK_PERM_RESIZE in block-common.h
 */
const qemuWriteBytes = [101, 103] as const;

/** Whether a machine, or a QEMU tool, has the file open for writing. False as well where there are no locks. */
export function isLockedForWriting(fd: number): boolean {
  if (!hasCall("fcntl")) return false;
  return qemuWriteBytes.some((byte) => {
    const lock = Buffer.alloc(flockBytes);
    lock.writeInt16LE(writeLock, 0);
    lock.writeBigInt64LE(BigInt(byte), 8);
    lock.writeBigInt64LE(1n, 16);
    return tryCall("fcntl", fd, getLock, lock) !== -1 && lock.readInt16LE(0) !== unlocked;
  });
}
