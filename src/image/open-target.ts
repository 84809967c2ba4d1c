/** Opening what an image is restored to, and refusing what must not be overwritten. */
import { closeSync, constants, fstatSync, openSync, realpathSync, statSync } from "node:fs";
import type { BigIntStats } from "node:fs";

import { FailedError, StoreError } from "../errors.ts";
import { nameFromBytes, nameToBytes, printableName } from "../names.ts";
import { blockDeviceSize, errnoCode, lockFile } from "../posix/index.ts";
import { deviceUse, fileUse } from "./device-in-use.ts";
import { ImageTarget } from "./image-target.ts";

export interface ImageTargetOptions {
  readonly size: number;
  /** Whether what is at the path may be written over: an existing file, and any block device. */
  readonly overwrite: boolean;
}

/** Put behind a file's name until it is whole. */
const partialSuffix = ".ashlar-partial";

/**
 * Opens the target of a restore; symlinks are followed.
 *
 * - Nothing there: a new file of mode 0600 under a partial name beside it, taken up again after an
 *   interrupted restore.
 * - A file: written in place, resized; locked, so that neither a second restore nor QEMU may use it meanwhile.
 *   Not one that a loop device or swap is made of.
 * - A block device: not one that is in use, nor one that is too small; what lies behind the image's end stays.
 *
 * @param path as in src/names.ts
 * @throws {FailedError} with the reason when it must not or cannot be written
 */
export function openImageTarget(path: string, options: ImageTargetOptions): ImageTarget {
  return told(path, () => {
    const stat = statSync(nameToBytes(path), { bigint: true, throwIfNoEntry: false });
    if (stat === undefined) return openNewFile(path, options.size);
    if (!stat.isFile() && !stat.isBlockDevice())
      throw refusal(path, "it is neither file nor block device");
    if (!options.overwrite) throw existsRefusal(path, stat);
    return stat.isFile() ? openFile(path, options.size) : openDevice(path, options.size, stat);
  });
}

/**
 * Opens the target of a file that cannot be written in place, since what stands there is laid out
 * otherwise: it is always a new one, and takes the place of the old one when it is whole.
 *
 * @throws {FailedError} as `openImageTarget`, and for block devices
 */
export function openReplacingTarget(path: string, options: ImageTargetOptions): ImageTarget {
  return told(path, () => {
    const stat = statSync(nameToBytes(path), { bigint: true, throwIfNoEntry: false });
    if (stat === undefined) return openNewFile(path, options.size);
    if (stat.isBlockDevice()) {
      throw refusal(path, "a machine reads a block device as a raw disk, and never as qcow2", {
        hint: "Restore it with --format raw, or name a file",
      });
    }
    if (!stat.isFile()) throw refusal(path, "it is no file");
    if (!options.overwrite) throw existsRefusal(path, stat);
    return replaceFile(path, options.size);
  });
}

function told<T>(path: string, open: () => T): T {
  try {
    return open();
  } catch (error) {
    if (error instanceof StoreError) throw error;
    throw refusal(path, error instanceof Error ? error.message : String(error), { cause: error });
  }
}

function existsRefusal(path: string, stat: BigIntStats): FailedError {
  const hint = "Choose another path, or allow it to be overwritten";
  return refusal(path, stat.isFile() ? "it exists" : "it is a block device", { hint });
}

function replaceFile(path: string, size: number): ImageTarget {
  const realPath = nameFromBytes(realpathSync(nameToBytes(path), "buffer"));
  const replacedFd = openSync(nameToBytes(realPath), constants.O_RDWR | constants.O_NONBLOCK);
  return closedOnFailure(replacedFd, () => {
    const stat = usableFile(replacedFd, path);
    const uid = process.geteuid?.();
    if (uid !== 0 && Number(stat.uid) !== uid) {
      throw refusal(path, "it belongs to another user, and the new file could not", {
        hint: "Run it as that user or as root, or choose another path",
      });
    }
    lock(replacedFd, path);
    return openNewFile(realPath, size, replacedFd);
  });
}

function openNewFile(path: string, size: number, replacedFd?: number): ImageTarget {
  const partialPath = path + partialSuffix;
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW | constants.O_NONBLOCK;
  const fd = openSync(nameToBytes(partialPath), flags, 0o600);
  return closedOnFailure(fd, () => {
    const stat = fstatSync(fd);
    // Of an own interrupted restore only: others must not read along in a file they prepared.
    if (
      !stat.isFile() ||
      stat.nlink !== 1 ||
      stat.uid !== process.geteuid?.() ||
      (stat.mode & 0o077) !== 0
    ) {
      throw refusal(path, `${printableName(partialPath)} is not a file left by an earlier restore`);
    }
    lock(fd, partialPath);
    const isNew = stat.size === 0;
    const replaced = replacedFd === undefined ? {} : { replacedFd };
    return new ImageTarget({ fd, path, size, kind: "file", isNew, partialPath, ...replaced });
  });
}

function openFile(path: string, size: number): ImageTarget {
  const fd = openSync(nameToBytes(path), constants.O_RDWR | constants.O_NONBLOCK);
  return closedOnFailure(fd, () => {
    const stat = usableFile(fd, path);
    lock(fd, path);
    return new ImageTarget({ fd, path, size, kind: "file", isNew: stat.size === 0n });
  });
}

/** @throws {FailedError} when it is no file any more, or the system uses it */
function usableFile(fd: number, path: string): BigIntStats {
  const stat = fstatSync(fd, { bigint: true });
  if (!stat.isFile()) throw refusal(path, "it was replaced meanwhile");
  const use = fileUse(stat);
  if (use === undefined) return stat;
  throw refusal(path, use, { hint: "Take it away there first (losetup -d, swapoff)" });
}

function openDevice(path: string, size: number, stat: BigIntStats): ImageTarget {
  const use = deviceUse(stat.rdev);
  if (use !== undefined) throw refusal(path, use);
  const fd = openExclusively(path);
  return closedOnFailure(fd, () => {
    if (fstatSync(fd, { bigint: true }).rdev !== stat.rdev)
      throw refusal(path, "it was replaced meanwhile");
    const available = blockDeviceSize(fd);
    if (available < size) {
      throw refusal(path, `it has ${available} bytes, the image ${size}`, {
        hint: "Choose a larger device",
      });
    }
    return new ImageTarget({ fd, path, size, kind: "block", isNew: false });
  });
}

/** On a block device O_EXCL without O_CREAT claims it, as mounting does: one excludes the other while it is open. */
function openExclusively(path: string): number {
  try {
    return openSync(nameToBytes(path), constants.O_RDWR | constants.O_EXCL);
  } catch (error) {
    if (errnoCode(error) === "EBUSY") throw refusal(path, "it is in use", { cause: error });
    throw error;
  }
}

function lock(fd: number, path: string): void {
  if (lockFile(fd)) return;
  throw refusal(path, "another program has locked it", {
    hint: "Stop the virtual machine or the other restore",
  });
}

function closedOnFailure<T>(fd: number, make: () => T): T {
  try {
    return make();
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function refusal(
  path: string,
  reason: string,
  options: { readonly hint?: string; readonly cause?: unknown } = {},
): FailedError {
  return new FailedError(`Cannot restore to ${printableName(path)}: ${reason}`, options);
}
