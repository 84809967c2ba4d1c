/** Holes of open files: finding them, making them; and how large a block device is. */
import { readFileSync, fstatSync } from "node:fs";
import { constants } from "node:os";

import { splitDevice } from "./device-numbers.ts";
import { hasCall, lastErrno, callOrThrow, tryCall } from "./libc.ts";
import { PosixError } from "./posix-error.ts";

// unistd.h
const seekDataWhence = 3;
const seekHoleWhence = 4;
// linux/falloc.h
const keepSize = 0x01;
const punch = 0x02;
const zero = 0x10;
/** linux/fs.h: _IOR(0x12, 114, size_t) on x86, arm and riscv. */
const blkGetSize64 = 0x80081272;

/**
 * The first byte at or after `offset` that is not in a hole; `undefined` when only hole follows, or `offset`
 * is not below the size. Where a file system knows no holes, everything is data. Moves the file position.
 */
export function seekData(fd: number, offset: number): number | undefined {
  return seek(fd, offset, seekDataWhence) ?? undefined;
}

/**
 * The first byte at or after `offset` that is in a hole; a hole begins at the end of every file.
 * `undefined` when `offset` is not below the size. Moves the file position.
 */
export function seekHole(fd: number, offset: number): number | undefined {
  return seek(fd, offset, seekHoleWhence);
}

function seek(fd: number, offset: number, whence: number): number | undefined {
  if (!hasCall("lseek")) return seekAllData(fd, offset, whence);
  const found = tryCall("lseek", fd, offset, whence);
  if (found !== -1) return found;
  const errno = lastErrno();
  if (errno === constants.errno.ENXIO) return undefined;
  // Block devices and a few file systems do not know these two.
  if (errno === constants.errno.EINVAL) return seekAllData(fd, offset, whence);
  throw new PosixError(errno, "lseek");
}

function seekAllData(fd: number, offset: number, whence: number): number | undefined {
  const stat = fstatSync(fd);
  const size = stat.isBlockDevice() ? blockDeviceSize(fd) : stat.size;
  if (offset >= size) return undefined;
  return whence === seekDataWhence ? offset : size;
}

/** Bytes. @throws {PosixError} ENOTTY when `fd` is no block device */
export function blockDeviceSize(fd: number): number {
  if (!hasCall("ioctl")) return sizeFromSysfs(fd);
  const size = new BigUint64Array(1);
  callOrThrow("ioctl", undefined, fd, blkGetSize64, size);
  return Number(size[0]);
}

function sizeFromSysfs(fd: number): number {
  const { major, minor } = splitDevice(fstatSync(fd, { bigint: true }).rdev);
  // Always in units of 512 bytes, whatever the device's sector.
  return 512 * Number(readFileSync(`/sys/dev/block/${major}:${minor}/size`, "utf8"));
}

/**
 * Makes the range a hole that reads as zeros; the file keeps its size. On a block device: discards with
 * the promise of zeros.
 *
 * @returns false when the file system or device cannot, or `offset` and `length` do not suit it
 */
export function punchHole(fd: number, offset: number, length: number): boolean {
  return allocate(fd, punch | keepSize, offset, length);
}

/**
 * Makes the range read as zeros in the cheapest way the system knows, but for writing zeros from here;
 * on a block device the kernel writes them where the device cannot. The file keeps its size.
 *
 * @returns false when the file system cannot
 */
export function zeroRange(fd: number, offset: number, length: number): boolean {
  return allocate(fd, zero | keepSize, offset, length);
}

function allocate(fd: number, mode: number, offset: number, length: number): boolean {
  if (!hasCall("fallocate")) return false;
  if (tryCall("fallocate", fd, mode, offset, length) !== -1) return true;
  const errno = lastErrno();
  const { EOPNOTSUPP, ENOSYS, EINVAL, ENODEV } = constants.errno;
  if ([EOPNOTSUPP, ENOSYS, EINVAL, ENODEV].includes(errno)) return false;
  throw new PosixError(errno, "fallocate");
}

/** POSIX_FADV_* of fcntl.h. */
const advices = {
  normal: 0,
  random: 1,
  sequential: 2,
  willNeed: 3,
  dontNeed: 4,
  noReuse: 5,
} as const;

/** Tells the kernel how a file will be read; `length` 0 reaches to the end. Only advice: nothing fails. */
export function fadvise(
  fd: number,
  offset: number,
  length: number,
  advice: keyof typeof advices,
): void {
  if (hasCall("posix_fadvise")) tryCall("posix_fadvise", fd, offset, length, advices[advice]);
}
