/** Opening what an image is restored to, and refusing what must not be overwritten. */
import { closeSync, constants, fstatSync, openSync, statSync } from "node:fs";
import type { BigIntStats } from "node:fs";

import { FailedError, StoreError } from "../errors.ts";
import { nameToBytes, printableName } from "../names.ts";
import { blockDeviceSize, errnoCode, lockFile } from "../posix/index.ts";
import { deviceUse } from "./device-in-use.ts";
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
 * - A block device: not one that is in use, nor one that is too small; what lies behind the image's end stays.
 *
 * @param path as in src/names.ts
 * @throws {FailedError} with the reason when it must not or cannot be written
 */
export function openImageTarget(path: string, options: ImageTargetOptions): ImageTarget {
  try {
    const stat = statSync(nameToBytes(path), { bigint: true, throwIfNoEntry: false });
    if (stat === undefined) return openNewFile(path, options.size);
    if (!stat.isFile() && !stat.isBlockDevice())
      throw refusal(path, "it is neither file nor block device");
    if (!options.overwrite) {
      const hint = "Choose another path, or allow it to be overwritten";
      throw refusal(path, stat.isFile() ? "it exists" : "it is a block device", { hint });
    }
    return stat.isFile() ? openFile(path, options.size) : openDevice(path, options.size, stat);
  } catch (error) {
    if (error instanceof StoreError) throw error;
    throw refusal(path, error instanceof Error ? error.message : String(error), { cause: error });
  }
}

function openNewFile(path: string, size: number): ImageTarget {
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
    return new ImageTarget({ fd, path, size, kind: "file", isNew: stat.size === 0, partialPath });
  });
}

function openFile(path: string, size: number): ImageTarget {
  const fd = openSync(nameToBytes(path), constants.O_RDWR | constants.O_NONBLOCK);
  return closedOnFailure(fd, () => {
    const stat = fstatSync(fd);
    if (!stat.isFile()) throw refusal(path, "it was replaced meanwhile");
    lock(fd, path);
    return new ImageTarget({ fd, path, size, kind: "file", isNew: stat.size === 0 });
  });
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
