/** Whether a file is a disk: then it is cut at block-aligned places, segment by segment, holes skipped. */
import { readSync } from "node:fs";

import { seekHole } from "../posix/index.ts";
import type { StatNs } from "../posix/index.ts";
import { headBytes, imageMagics, notImages } from "./magics.ts";
import type { Magic } from "./magics.ts";

/** Below this a file gains nothing from being taken for an image. */
export const imageBytesMin = 1 << 20;
/** A file without a known magic is an image only from here on, and if it has holes. */
export const sparseImageBytesMin = 64 << 20;
const sectorBytes = 512;

export interface ImageClass {
  readonly image: boolean;
  /** For `--verbose`: what was seen. */
  readonly reason: string;
}

/**
 * Only the first 64 KiB and the last sector are read, and only of files of at least 1 MiB.
 *
 * @param fd open for reading; its position may move
 * @throws {Error} of node:fs when it cannot be read
 */
export function classifyImage(fd: number, stat: Pick<StatNs, "type" | "size">): ImageClass {
  if (stat.type === "blockdev") return { image: true, reason: "block device" };
  if (stat.type !== "file") return { image: false, reason: "not a file" };
  if (stat.size < imageBytesMin) return { image: false, reason: "smaller than 1 MiB" };
  const head = readAt(fd, 0, headBytes);
  const last = readAt(fd, stat.size - sectorBytes, sectorBytes);
  const isThere = (magic: Magic): boolean => matches(magic, head, last);
  const other = notImages.find(isThere);
  if (other !== undefined) return { image: false, reason: other.name };
  const magic = imageMagics.find(isThere);
  if (magic !== undefined) return { image: true, reason: magic.name };
  if (stat.size >= sparseImageBytesMin && stat.size % sectorBytes === 0 && hasHole(fd, stat.size)) {
    return { image: true, reason: "large file with holes" };
  }
  return { image: false, reason: "no disk known by its first bytes" };
}

function hasHole(fd: number, size: number): boolean {
  const hole = seekHole(fd, 0);
  return hole !== undefined && hole < size;
}

function matches(magic: Magic, head: Buffer, last: Buffer): boolean {
  const [place, at] = magic.offset < 0 ? [last, sectorBytes + magic.offset] : [head, magic.offset];
  const found = place.subarray(at, at + magic.bytes.length);
  return found.equals(magic.bytes) && (magic.holds?.(head) ?? true);
}

/** Zeros stand for what is not there: the file may have become shorter. */
function readAt(fd: number, offset: number, length: number): Buffer {
  const into = Buffer.alloc(length);
  for (let at = 0; at < length;) {
    const count = readSync(fd, into, at, length - at, offset + at);
    if (count === 0) break;
    at += count;
  }
  return into;
}
