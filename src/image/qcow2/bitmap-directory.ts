/**
 * The persistent bitmaps of a qcow2 file: which there are, not their bits.
 *
 *   0 table offset u64       12 flags u32 (0 in use, 1 auto)   17 granularity bits u8   20 extra length u32
 *   8 table entries u32      16 type u8 (1 dirty tracking)     18 name length u16
 *
 * Then extra data and name; padded to 8.
 */
import { Qcow2Fault } from "./fault.ts";

export interface StoredBitmap {
  readonly name: string;
  readonly granularityBytes: number;
  /** A writer did not close the file properly: its bits cannot be relied on. */
  readonly isInconsistent: boolean;
}

const entryBytes = 24;
const granularityBitsMax = 31;

export function decodeBitmapDirectory(directory: Buffer, count: number): StoredBitmap[] {
  const bitmaps: StoredBitmap[] = [];
  let at = 0;
  for (let index = 0; index < count; index++) {
    if (at + entryBytes > directory.length) throw cutOff();
    const flags = directory.readUInt32BE(at + 12);
    const granularityBits = directory[at + 17]!;
    const name = at + entryBytes + directory.readUInt32BE(at + 20);
    const end = name + directory.readUInt16BE(at + 18);
    if (end > directory.length || granularityBits > granularityBitsMax) throw cutOff();
    bitmaps.push({
      name: directory.toString("utf8", name, end),
      granularityBytes: 2 ** granularityBits,
      isInconsistent: (flags & 1) !== 0,
    });
    at = Math.ceil(end / 8) * 8;
  }
  return bitmaps;
}

function cutOff(): Qcow2Fault {
  return new Qcow2Fault("its bitmap directory is cut off");
}
