/** The header and the tables of a qcow2 file that is written anew, as layout.ts places them. */
import { qcow2Magic } from "./header.ts";
import { l2Entries, type Qcow2Layout } from "./layout.ts";

export interface TableBytes {
  readonly offset: number;
  readonly bytes: Buffer;
}

const v3HeaderBytes = 104;
/** With the compression type and its padding. */
const longHeaderBytes = 112;
const batchBytes = 2 ** 20;
const copiedBit = 0x8000_0000;
const refcountOrder = 4;
const incompatibleCompression = 1 << 3;
const incompatibleExtendedL2 = 1 << 4;
const compatibleLazyRefcounts = 1;
/** All 32 subclusters are allocated. */
const allSubclusters = 0xffff_ffff;

/** Every byte before the data, in pieces of bounded length; the header last. */
export function* encodeTables(layout: Qcow2Layout): Generator<TableBytes> {
  const { refcountTable, refcountBlocks, l1, kind } = layout;
  const l1Table = Buffer.alloc(l1.clusters * kind.clusterBytes);
  yield* l2Tables(layout, l1Table);
  yield { offset: l1.offset, bytes: l1Table };
  yield* refcounts(layout);
  const table = Buffer.alloc(refcountTable.clusters * kind.clusterBytes);
  for (let block = 0; block < refcountBlocks.clusters; block++)
    putOffset(table, block * 8, refcountBlocks.offset + block * kind.clusterBytes);
  yield { offset: refcountTable.offset, bytes: table };
  yield { offset: 0, bytes: header(layout) };
}

/** @param l1Table  gets the places of the tables */
function* l2Tables(layout: Qcow2Layout, l1Table: Buffer): Generator<TableBytes> {
  const { kind, clusters, l2, dataOffset } = layout;
  const { clusterBytes, extendedL2 } = kind;
  const entries = l2Entries(clusterBytes, extendedL2);
  const entryBytes = clusterBytes / entries;
  const tablesAtOnce = Math.max(1, batchBytes / clusterBytes);
  let batch = Buffer.alloc(0);
  let batchOffset = l2.offset;
  /** Bytes of the batch that tables were begun in. */
  let used = 0;
  let table = -1;
  let host = dataOffset;
  for (const { first, count } of clusters.runs()) {
    for (let cluster = first; cluster < first + count; cluster++) {
      const number = Math.floor(cluster / entries);
      if (number !== table) {
        if (used === batch.length) {
          if (used > 0) yield { offset: batchOffset, bytes: batch };
          batchOffset += used;
          batch = Buffer.alloc(tablesAtOnce * clusterBytes);
          used = 0;
        }
        putOffset(l1Table, number * 8, batchOffset + used, copiedBit);
        used += clusterBytes;
        table = number;
      }
      const at = used - clusterBytes + (cluster % entries) * entryBytes;
      putOffset(batch, at, host, copiedBit);
      if (extendedL2) batch.writeUInt32BE(allSubclusters, at + 12);
      host += clusterBytes;
    }
  }
  if (used > 0) yield { offset: batchOffset, bytes: batch.subarray(0, used) };
}

/** Each cluster of the file is used once; what the last block has beyond the file is free. */
function* refcounts({ kind, refcountBlocks, fileBytes }: Qcow2Layout): Generator<TableBytes> {
  const bytes = refcountBlocks.clusters * kind.clusterBytes;
  const ones = (fileBytes / kind.clusterBytes) * 2;
  for (let at = 0; at < bytes; at += batchBytes) {
    const batch = Buffer.alloc(Math.min(batchBytes, bytes - at));
    batch.fill(Buffer.of(0, 1), 0, Math.max(0, Math.min(batch.length, ones - at)));
    yield { offset: refcountBlocks.offset + at, bytes: batch };
  }
}

function header({ kind, diskBytes, l1, refcountTable }: Qcow2Layout): Buffer {
  const bytes = Buffer.alloc(kind.clusterBytes);
  const isV3 = kind.compat === "1.1";
  bytes.writeUInt32BE(qcow2Magic, 0);
  bytes.writeUInt32BE(isV3 ? 3 : 2, 4);
  bytes.writeUInt32BE(Math.log2(kind.clusterBytes), 20);
  bytes.writeBigUInt64BE(BigInt(diskBytes), 24);
  bytes.writeUInt32BE(l1.entries, 36);
  putOffset(bytes, 40, l1.offset);
  putOffset(bytes, 48, refcountTable.offset);
  bytes.writeUInt32BE(refcountTable.clusters, 56);
  // What follows the header are extensions, and zeros are their end.
  if (!isV3) return bytes;
  const isZstd = kind.compression === "zstd";
  bytes.writeUInt32BE(
    (isZstd ? incompatibleCompression : 0) + (kind.extendedL2 ? incompatibleExtendedL2 : 0),
    76,
  );
  bytes.writeUInt32BE(kind.lazyRefcounts ? compatibleLazyRefcounts : 0, 84);
  bytes.writeUInt32BE(refcountOrder, 96);
  bytes.writeUInt32BE(isZstd ? longHeaderBytes : v3HeaderBytes, 100);
  if (isZstd) bytes[v3HeaderBytes] = 1;
  return bytes;
}

/** In halves: a BigInt for each cluster of a disk would take longer than all else. */
function putOffset(bytes: Buffer, at: number, offset: number, highBits = 0): void {
  bytes.writeUInt32BE(Math.floor(offset / 2 ** 32) + highBits, at);
  bytes.writeUInt32BE(offset % 2 ** 32, at + 4);
}
