/** A stretch of an export as an export of its own: a partition as a disk. */
import type { NbdExport } from "../../nbd/index.ts";

export function partExport(whole: NbdExport, start: number, length: number): NbdExport {
  return {
    ...whole,
    size: length,
    read: (offset, bytes) => whole.read(start + offset, bytes),
    blockStatus: (context, offset, bytes) => whole.blockStatus(context, start + offset, bytes),
  };
}
