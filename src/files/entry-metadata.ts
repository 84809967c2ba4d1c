/** What a backup keeps of an entry, read without following symlinks. */
import { fstatSync, readlinkSync } from "node:fs";

import type { ExtendedAttribute, FileMetadata } from "../file-metadata.ts";
import { nameFromBytes, nameToBytes } from "../names.ts";
import { groupName, pathAt, readXattrs, statNs, userName } from "../posix/index.ts";
import type { StatNs } from "../posix/index.ts";
import type { OpenDirectory } from "./open-directory.ts";

/** The format's bound for all attributes of an entry (docs/format.md, Limits). */
const xattrBytesMax = 1024 * 1024;

export interface Described {
  readonly metadata: FileMetadata;
  /** Why its extended attributes are not kept. */
  readonly xattrFault: unknown;
}

export function describeDirectory(directory: OpenDirectory): Described {
  const stat = statNs(fstatSync(directory.fd(), { bigint: true }));
  return describe(stat, directory.path());
}

/** @param stat of an entry of `directory` that is not itself a directory */
export function describeEntry(directory: OpenDirectory, name: string, stat: StatNs): Described {
  const path = pathAt(directory.fd(), name);
  const described = describe(stat, path);
  if (stat.type !== "symlink") return described;
  const linkTarget = nameFromBytes(readlinkSync(path, "buffer"));
  return { ...described, metadata: { ...described.metadata, linkTarget } };
}

/** The same entry, its content and times as they are by now. */
export function refreshed(metadata: FileMetadata, stat: StatNs): FileMetadata {
  return { ...metadata, ...statFields(stat) };
}

function describe(stat: StatNs, path: string | Buffer): Described {
  let xattrs: readonly ExtendedAttribute[] = [];
  let xattrFault: unknown;
  try {
    xattrs = readXattrs(path);
    if (bytesOf(xattrs) > xattrBytesMax) {
      xattrs = [];
      xattrFault = "they take more than 1 MiB";
    }
  } catch (error) {
    xattrFault = error;
  }
  const owners = { user: userName(stat.uid), group: groupName(stat.gid) };
  const isDevice = stat.type === "chardev" || stat.type === "blockdev";
  const metadata = { ...statFields(stat), ...owners, ...(isDevice && { rdev: stat.rdev }), xattrs };
  return { metadata, xattrFault };
}

function statFields(
  stat: StatNs,
): Omit<FileMetadata, "user" | "group" | "xattrs" | "rdev" | "linkTarget"> {
  const { type, mode, uid, gid, links } = stat;
  return {
    type,
    mode,
    uid,
    gid,
    mtimeNs: storableTime(stat.mtimeNs),
    atimeNs: storableTime(stat.atimeNs),
    ctimeNs: storableTime(stat.ctimeNs),
    size: type === "file" ? stat.size : 0,
    // node:fs gives numbers from 2^63 on as negative ones.
    inode: BigInt.asUintN(64, stat.inode),
    deviceId: BigInt.asUintN(64, stat.deviceId),
    links,
  };
}

/** The format has 64 bits: 1677 to 2262. Times beyond, which some file systems can hold, become the nearest. */
function storableTime(timeNs: bigint): bigint {
  if (BigInt.asIntN(64, timeNs) === timeNs) return timeNs;
  return timeNs < 0n ? -(1n << 63n) : (1n << 63n) - 1n;
}

function bytesOf(xattrs: readonly ExtendedAttribute[]): number {
  let bytes = 0;
  // 6: two lengths as varints.
  for (const { name, value } of xattrs) bytes += nameToBytes(name).length + value.length + 6;
  return bytes;
}
