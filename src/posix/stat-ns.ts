/** What a system says about a file, with times in nanoseconds: from statx, or from node:fs. */
import { constants } from "node:fs";
import type { BigIntStats } from "node:fs";

import type { FileType } from "../file-metadata.ts";
import { makeDevice, splitDevice } from "./device-numbers.ts";
import type { DeviceNumber } from "./device-numbers.ts";

export interface StatNs {
  readonly type: FileType;
  /** The low 12 bits of st_mode. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly links: number;
  readonly inode: bigint;
  readonly deviceId: bigint;
  /** 0, 0 for all but chardev and blockdev. */
  readonly rdev: DeviceNumber;
  readonly mtimeNs: bigint;
  readonly atimeNs: bigint;
  readonly ctimeNs: bigint;
}

const typeBits: Readonly<Record<FileType, number>> = {
  file: constants.S_IFREG,
  dir: constants.S_IFDIR,
  symlink: constants.S_IFLNK,
  chardev: constants.S_IFCHR,
  blockdev: constants.S_IFBLK,
  fifo: constants.S_IFIFO,
  socket: constants.S_IFSOCK,
};

const typesByBits = new Map(
  Object.entries(typeBits).map(([type, bits]) => [bits, type as FileType]),
);

/** The S_IFMT bits of a file type. */
export function modeOfType(type: FileType): number {
  return typeBits[type];
}

function typeOfMode(mode: number): FileType {
  // Linux has no other types.
  return typesByBits.get(mode & constants.S_IFMT) ?? "file";
}

/** From a `{ bigint: true }` stat of node:fs. */
export function statNs(stat: BigIntStats): StatNs {
  const mode = Number(stat.mode);
  return {
    type: typeOfMode(mode),
    mode: mode & 0o7777,
    uid: Number(stat.uid),
    gid: Number(stat.gid),
    size: Number(stat.size),
    links: Number(stat.nlink),
    inode: stat.ino,
    deviceId: stat.dev,
    rdev: splitDevice(stat.rdev),
    mtimeNs: stat.mtimeNs,
    atimeNs: stat.atimeNs,
    ctimeNs: stat.ctimeNs,
  };
}

/** STATX_BASIC_STATS of linux/stat.h. */
export const statxMask = 0x7ff;
export const statxBytes = 256;

/** Decodes `struct statx` (linux/stat.h), which is laid out alike on all machines, in their own byte order. */
export function decodeStatx(view: DataView): StatNs {
  const mode = view.getUint16(28, little);
  return {
    type: typeOfMode(mode),
    mode: mode & 0o7777,
    uid: view.getUint32(20, little),
    gid: view.getUint32(24, little),
    size: Number(view.getBigUint64(40, little)),
    links: view.getUint32(16, little),
    inode: view.getBigUint64(32, little),
    deviceId: makeDevice(deviceAt(view, 136)),
    rdev: deviceAt(view, 128),
    mtimeNs: timeAt(view, 112),
    atimeNs: timeAt(view, 64),
    ctimeNs: timeAt(view, 96),
  };
}

const little = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

function deviceAt(view: DataView, at: number): DeviceNumber {
  return { major: view.getUint32(at, little), minor: view.getUint32(at + 4, little) };
}

function timeAt(view: DataView, at: number): bigint {
  return view.getBigInt64(at, little) * 1_000_000_000n + BigInt(view.getUint32(at + 8, little));
}
