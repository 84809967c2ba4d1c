/** Why a block device must not be written: what on this system uses it, or a part of it. */
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
  if (!path.startsWith("/")) return undefined;
  try {
    const stat = statSync(unescaped(path), { bigint: true });
    return stat.isBlockDevice() ? name(stat.rdev) : undefined;
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
