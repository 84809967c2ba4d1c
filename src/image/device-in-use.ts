/** Why a block device, or a file, must not be written: what on this system uses it, or a part of it. */
import type { BigIntStats } from "node:fs";
import { readdirSync, readFileSync, statSync } from "node:fs";

import { splitDevice } from "../posix/index.ts";

/**
 * @param device st_rdev
 * @returns "it is mounted at /home", or `undefined` when nothing is known to use it
 */
export function deviceUse(device: bigint): string | undefined {
  const whole = name(device);
  const parts = [whole, ...partitionsOf(whole)];
  for (const part of parts) {
    const subject = part === whole ? "it" : `its partition ${labelOf(part)}`;
    const use = mountUse(part) ?? swapUse(part) ?? holderUse(part);
    if (use !== undefined) return `${subject} ${use}`;
  }
  return undefined;
}

/**
 * @param stat of a file; a machine that runs from it has locked it, and needs no word here
 * @returns "/dev/loop3 is made of it", or `undefined` when no part of the system is known to use it
 */
export function fileUse(stat: BigIntStats): string | undefined {
  const isIt = (path: string): boolean => {
    const other = statOf(path);
    return other?.dev === stat.dev && other.ino === stat.ino;
  };
  for (const device of entries("/sys/block")) {
    const backing = text(`/sys/block/${device}/loop/backing_file`).replace(/\n$/, "");
    if (backing !== "" && isIt(backing)) return `/dev/${device} is made of it`;
  }
  const swaps = text("/proc/swaps").split("\n").slice(1);
  return swaps.some((line) => isIt(unescaped(line.split(/\s/)[0] ?? "")))
    ? "it is used as swap"
    : undefined;
}

/** "8:1", as in sysfs and mountinfo. */
function name(device: bigint): string {
  const { major, minor } = splitDevice(device);
  return `${major}:${minor}`;
}

function partitionsOf(whole: string): string[] {
  const folder = `/sys/dev/block/${whole}`;
  return entries(folder).flatMap((entry) => {
    const isPartition = text(`${folder}/${entry}/partition`) !== "";
    return isPartition ? [text(`${folder}/${entry}/dev`).trim()] : [];
  });
}

/** @see proc(5), /proc/pid/mountinfo: the device is the third field, the mount point the fifth, the source the second after a lone dash */
function mountUse(part: string): string | undefined {
  for (const line of text("/proc/self/mountinfo").split("\n")) {
    const fields = line.split(" ");
    const source = fields[fields.indexOf("-") + 2] ?? "";
    // Some file systems (btrfs) have a device number of their own.
    if (fields[2] === part || deviceAt(source) === part)
      return `is mounted at ${unescaped(fields[4] ?? "")}`;
  }
  return undefined;
}

function swapUse(part: string): string | undefined {
  const paths = text("/proc/swaps").split("\n").slice(1);
  return paths.some((line) => deviceAt(line.split(/\s/)[0] ?? "") === part)
    ? "is used as swap"
    : undefined;
}

/** Volume managers and RAID. */
function holderUse(part: string): string | undefined {
  const holder = entries(`/sys/dev/block/${part}/holders`)[0];
  return holder === undefined ? undefined : `is part of ${holder}`;
}

function labelOf(part: string): string {
  return /^DEVNAME=(.*)$/m.exec(text(`/sys/dev/block/${part}/uevent`))?.[1] ?? part;
}

function deviceAt(path: string): string | undefined {
  const stat = statOf(unescaped(path));
  return stat?.isBlockDevice() === true ? name(stat.rdev) : undefined;
}

function statOf(path: string): BigIntStats | undefined {
  if (!path.startsWith("/")) return undefined;
  try {
    return statSync(path, { bigint: true });
  } catch {
    return undefined;
  }
}

/** Spaces and the like stand as octal in these files. */
function unescaped(path: string): string {
  return path.replace(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
}

function text(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

function entries(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}
