import type { TreeEntry } from "../repo/index.ts";
import { formatTime } from "./text.ts";

type DirectoryEntry = TreeEntry["entry"];
type FileType = DirectoryEntry["metadata"]["type"];

/** An entry of a snapshot as `--json` shows it, with restic's field names (docs/json.md). */
export function entryDocument({ path, entry }: TreeEntry): object {
  const { name, metadata } = entry;
  return {
    name,
    type: metadata.type,
    path,
    uid: metadata.uid,
    gid: metadata.gid,
    user: metadata.user === "" ? undefined : metadata.user,
    group: metadata.group === "" ? undefined : metadata.group,
    size: metadata.type === "file" ? metadata.size : undefined,
    mode: metadata.mode,
    permissions: permissions(entry),
    mtime: isoTime(metadata.mtimeNs),
    atime: isoTime(metadata.atimeNs),
    ctime: isoTime(metadata.ctimeNs),
    inode: metadata.inode,
    device_id: metadata.deviceId,
    links: metadata.links,
    device_numbers: metadata.rdev,
    linktarget: metadata.linkTarget,
  };
}

const typeLetters: Readonly<Record<FileType, string>> = {
  file: "-",
  dir: "d",
  symlink: "l",
  chardev: "c",
  blockdev: "b",
  fifo: "p",
  socket: "s",
};

export function permissions({ metadata: { type, mode } }: DirectoryEntry): string {
  return permissionsText(type, mode);
}

/** As `ls -l` writes them: `drwxr-xr-x`. */
export function permissionsText(type: FileType, mode: number): string {
  const letters = Array.from(`${typeLetters[type]}rwxrwxrwx`, (letter, at) =>
    at === 0 || (mode & (1 << (9 - at))) !== 0 ? letter : "-",
  );
  const special = (bit: number, at: number, set: string): void => {
    if ((mode & bit) !== 0) letters[at] = letters[at] === "-" ? set.toUpperCase() : set;
  };
  special(0o4000, 3, "s");
  special(0o2000, 6, "s");
  special(0o1000, 9, "t");
  return letters.join("");
}

/** `2026-11-23T02:30:00.123456789Z`. */
export function isoTime(timeNs: bigint): string {
  const perSecond = 1_000_000_000n;
  const fraction = ((timeNs % perSecond) + perSecond) % perSecond;
  const milliseconds = Number((timeNs - fraction) / 1_000_000n);
  if (Math.abs(milliseconds) > 8.64e15) return `${timeNs} ns`; // beyond what a Date can hold
  const seconds = new Date(milliseconds).toISOString().slice(0, -".000Z".length);
  return `${seconds}.${String(fraction).padStart(9, "0")}Z`;
}

/** For people: to the second, local time. */
export function listedTime(timeNs: bigint): string {
  const milliseconds = Number(timeNs / 1_000_000n);
  return Math.abs(milliseconds) > 8.64e15 ? `${timeNs} ns` : formatTime(new Date(milliseconds));
}
