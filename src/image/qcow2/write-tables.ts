/** Writes the tables of a qcow2 file, and compares what was written. */
import { read, write } from "node:fs";
import { promisify } from "node:util";

import type { ImageTarget } from "../image-target.ts";
import { encodeTables } from "./encode-tables.ts";
import { hostOffset, type Qcow2Layout } from "./layout.ts";

const readAt = promisify(read);
const writeAt = promisify(write);

/** Puts everything into a target but the data, which others write where the layout places it. */
export async function writeTables(target: ImageTarget, layout: Qcow2Layout): Promise<void> {
  for (const { offset, bytes } of encodeTables(layout)) {
    for (let at = 0; at < bytes.length;) {
      const left = bytes.length - at;
      at += (await writeAt(target.fd, bytes, at, left, offset + at)).bytesWritten;
    }
  }
  await zeroBehindDisk(target, layout);
}

/** @returns where in the file the tables are not as they were written; undefined where they are */
export async function findTableFault(
  { fd }: ImageTarget,
  layout: Qcow2Layout,
): Promise<number | undefined> {
  for (const { offset, bytes } of encodeTables(layout)) {
    const found = Buffer.alloc(bytes.length);
    for (let at = 0; at < found.length;) {
      const { bytesRead } = await readAt(fd, found, at, found.length - at, offset + at);
      if (bytesRead === 0) return offset + at;
      at += bytesRead;
    }
    if (!found.equals(bytes)) return offset;
  }
  return undefined;
}

/** The disk may end within its last cluster. */
async function zeroBehindDisk(target: ImageTarget, layout: Qcow2Layout): Promise<void> {
  const { clusterBytes } = layout.kind;
  const host = hostOffset(layout, Math.max(0, layout.size - 1));
  if (host !== undefined)
    await target.zeroRange(host + 1, clusterBytes - 1 - (host % clusterBytes));
}
