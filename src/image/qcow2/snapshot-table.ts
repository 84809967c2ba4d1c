/**
 * The internal snapshots of a qcow2 file.
 *
 *   0 L1 offset u64   12 id length u16     16 date s, 20 ns u32   32 state's bytes u32
 *   8 L1 entries u32  14 name length u16   24 clock u64           36 extra length u32
 *
 * Then extra data, id, name; padded to 8.
 */
import { Qcow2Fault } from "./fault.ts";

export interface InternalSnapshot {
  readonly id: string;
  readonly name: string;
}

const entryBytes = 40;
const extraBytesMax = 1024;

/** The longest table of so many snapshots. */
export function snapshotTableBytesMax(count: number): number {
  return count * (entryBytes + extraBytesMax + 2 * 65_535 + 8);
}

/** @param table  from the table's start to where the file ends, or a bound before */
export function decodeSnapshots(table: Buffer, count: number): InternalSnapshot[] {
  const snapshots: InternalSnapshot[] = [];
  let at = 0;
  for (let index = 0; index < count; index++) {
    if (at + entryBytes > table.length) throw cutOff();
    const idLength = table.readUInt16BE(at + 12);
    const nameLength = table.readUInt16BE(at + 14);
    const extraLength = table.readUInt32BE(at + 36);
    const id = at + entryBytes + extraLength;
    const end = id + idLength + nameLength;
    if (extraLength > extraBytesMax || end > table.length) throw cutOff();
    snapshots.push({
      id: table.toString("utf8", id, id + idLength),
      name: table.toString("utf8", id + idLength, end),
    });
    at = Math.ceil(end / 8) * 8;
  }
  return snapshots;
}

function cutOff(): Qcow2Fault {
  return new Qcow2Fault("its snapshot table is cut off");
}
