/**
 * The header of a qcow2 file and its extensions; big-endian.
 *
 *   0 magic "QFI\xfb"     24 size u64            60 snapshot count u32     88 autoclear features u64
 *   4 version u32         32 crypt method u32    64 snapshots offset u64   96 refcount order u32
 *   8 backing offset u64  36 L1 entries u32      -- version 3 --          100 header length u32
 *  16 backing length u32  40 L1 offset u64       72 incompatible u64      104 compression type u8
 *  20 cluster bits u32    48 refcount table ...  80 compatible u64
 *
 * Then extensions: u32 type, u32 length, data, padded to 8; type 0 ends them.
 *
 * @see QEMU, docs/interop/qcow2.rst
 */
import { Qcow2Fault } from "./fault.ts";

export interface Qcow2Header {
  readonly version: 2 | 3;
  readonly clusterBits: number;
  readonly clusterBytes: number;
  /** What the guest sees. */
  readonly size: number;
  readonly l1: TablePlace;
  readonly snapshotCount: number;
  readonly snapshotsOffset: number;
  readonly compression: "deflate" | "zstd";
  readonly hasExtendedL2: boolean;
  readonly hasLazyRefcounts: boolean;
  readonly isEncrypted: boolean;
  /** Absent: what is not allocated reads as zeros. */
  readonly backing?: { readonly name: string; readonly format: string | undefined };
  /** The file that holds the data clusters, where it is not this one. */
  readonly dataFile?: string;
  /** Data lies in the data file where the guest sees it. */
  readonly isDataFileRaw: boolean;
  readonly bitmaps?: { readonly count: number; readonly directory: TablePlace };
}

/** `count` is in entries, or bytes for a directory. */
export interface TablePlace {
  readonly offset: number;
  readonly count: number;
}

export const qcow2Magic = 0x514649fb;
/** The longest first part of a file that `decodeHeader` looks at: a cluster. */
export const headerBytesMax = 1 << 21;
const v2HeaderBytes = 72;
const v3HeaderBytes = 104;
/** QEMU's own bound; 2^22 entries. */
const l1BytesMax = 32 << 20;
const snapshotCountMax = 65_536;
const bitmapCountMax = 65_535;
const backingNameBytesMax = 1023;

const incompatible = {
  dirty: 1n << 0n,
  corrupt: 1n << 1n,
  dataFile: 1n << 2n,
  compression: 1n << 3n,
  extendedL2: 1n << 4n,
} as const;
const knownIncompatible = Object.values(incompatible).reduce((all, bit) => all | bit, 0n);
const lazyRefcounts = 1n << 0n;
const bitmapsValid = 1n << 0n;
const rawDataFile = 1n << 1n;

const extension = {
  end: 0,
  backingFormat: 0xe2792aca,
  bitmaps: 0x23852875,
  dataFile: 0x44415441,
} as const;

/**
 * @param head  the file's beginning, as much as there is up to `headerBytesMax`
 * @throws {Qcow2Fault} with what is wrong with it, or not supported
 */
export function decodeHeader(head: Buffer, fileBytes: number): Qcow2Header {
  need(head.length >= v2HeaderBytes && head.readUInt32BE(0) === qcow2Magic, "it has no header");
  const version = head.readUInt32BE(4);
  if (version !== 2 && version !== 3) throw new Qcow2Fault(`its version ${version} is not known`);
  const isV3 = version === 3;
  need(!isV3 || head.length >= v3HeaderBytes, "its header is cut off");
  const features = isV3 ? featuresOf(head) : noFeatures;
  const clusterBits = head.readUInt32BE(20);
  need(clusterBits >= 9 && clusterBits <= 21, `its cluster size is 2^${clusterBits}`);
  need(!features.hasExtendedL2 || clusterBits >= 14, "its subclusters are smaller than 512 bytes");
  const clusterBytes = 2 ** clusterBits;
  const size = offsetAt(head, 24, "its size");
  const headerLength = isV3 ? head.readUInt32BE(100) : v2HeaderBytes;
  need(
    headerLength >= (isV3 ? v3HeaderBytes : v2HeaderBytes) &&
      headerLength <= Math.min(head.length, clusterBytes),
    "its header has a wrong length",
  );
  const l1 = { offset: offsetAt(head, 40, "its L1 table"), count: head.readUInt32BE(36) };
  need(l1.count * 8 <= l1BytesMax, "its L1 table is larger than 32 MiB");
  const entries = clusterBytes / (features.hasExtendedL2 ? 16 : 8);
  need(l1.count >= Math.ceil(size / (entries * clusterBytes)), "its L1 table is too short");
  need(l1.offset + l1.count * 8 <= fileBytes, "its L1 table lies outside of the file");
  const snapshotCount = head.readUInt32BE(60);
  need(snapshotCount <= snapshotCountMax, "it has more than 65536 snapshots");
  const extensions = extensionsOf(head, headerLength, clusterBytes);
  const compression = compressionOf(head, headerLength, features.hasCompressionType);
  const dataFile = extensions.get(extension.dataFile)?.toString("utf8");
  need(!features.hasDataFile || dataFile !== undefined, "it does not name its data file");
  const backing = backingOf(head, clusterBytes, extensions.get(extension.backingFormat));
  const bitmaps = features.bitmapsValid
    ? bitmapsOf(extensions.get(extension.bitmaps), fileBytes)
    : undefined;
  return {
    version,
    clusterBits,
    clusterBytes,
    size,
    l1,
    snapshotCount,
    snapshotsOffset: offsetAt(head, 64, "its snapshot table"),
    compression,
    hasExtendedL2: features.hasExtendedL2,
    hasLazyRefcounts: features.hasLazyRefcounts,
    isEncrypted: head.readUInt32BE(32) !== 0,
    ...(backing === undefined ? {} : { backing }),
    ...(features.hasDataFile ? { dataFile: dataFile! } : {}),
    isDataFileRaw: features.hasDataFile && features.isDataFileRaw,
    ...(bitmaps === undefined ? {} : { bitmaps }),
  };
}

const noFeatures = {
  hasDataFile: false,
  hasCompressionType: false,
  hasExtendedL2: false,
  hasLazyRefcounts: false,
  bitmapsValid: false,
  isDataFileRaw: false,
} as const;

function featuresOf(head: Buffer): Readonly<Record<keyof typeof noFeatures, boolean>> {
  const needed = head.readBigUInt64BE(72);
  const compatible = head.readBigUInt64BE(80);
  const autoclear = head.readBigUInt64BE(88);
  const unknown = needed & ~knownIncompatible;
  if (unknown !== 0n) {
    const bits = `0x${unknown.toString(16)}`;
    throw new Qcow2Fault(`it needs features that are not known here (${bits})`, "unsupported");
  }
  if ((needed & incompatible.corrupt) !== 0n)
    throw new Qcow2Fault("it is marked as corrupt", "damaged");
  if ((needed & incompatible.dirty) !== 0n)
    throw new Qcow2Fault("it was not closed properly", "damaged");
  return {
    hasDataFile: (needed & incompatible.dataFile) !== 0n,
    hasCompressionType: (needed & incompatible.compression) !== 0n,
    hasExtendedL2: (needed & incompatible.extendedL2) !== 0n,
    hasLazyRefcounts: (compatible & lazyRefcounts) !== 0n,
    bitmapsValid: (autoclear & bitmapsValid) !== 0n,
    isDataFileRaw: (autoclear & rawDataFile) !== 0n,
  };
}

function compressionOf(
  head: Buffer,
  headerLength: number,
  isStated: boolean,
): Qcow2Header["compression"] {
  const type = headerLength > v3HeaderBytes ? head[v3HeaderBytes]! : 0;
  if (type > 1) throw new Qcow2Fault(`its compression type ${type} is not known`, "unsupported");
  need((type !== 0) === isStated, "its compression type contradicts its features");
  return type === 1 ? "zstd" : "deflate";
}

function extensionsOf(head: Buffer, from: number, clusterBytes: number): Map<number, Buffer> {
  const found = new Map<number, Buffer>();
  const end = Math.min(head.length, clusterBytes);
  for (let at = from; at + 8 <= end;) {
    const type = head.readUInt32BE(at);
    const length = head.readUInt32BE(at + 4);
    if (type === extension.end) break;
    need(at + 8 + length <= end, "a header extension is cut off");
    found.set(type, head.subarray(at + 8, at + 8 + length));
    at += 8 + Math.ceil(length / 8) * 8;
  }
  return found;
}

function backingOf(
  head: Buffer,
  clusterBytes: number,
  format: Buffer | undefined,
): Qcow2Header["backing"] {
  const offset = offsetAt(head, 8, "its backing file's name");
  const length = head.readUInt32BE(16);
  if (offset === 0) return undefined;
  need(
    length <= backingNameBytesMax && offset + length <= Math.min(head.length, clusterBytes),
    "its backing file's name is cut off",
  );
  if (length === 0) return undefined;
  const name = head.toString("utf8", offset, offset + length);
  need(!name.includes("\0"), "its backing file's name holds a NUL");
  return { name, format: format?.toString("latin1") };
}

function bitmapsOf(bytes: Buffer | undefined, fileBytes: number): Qcow2Header["bitmaps"] {
  if (bytes === undefined) return undefined;
  need(bytes.length >= 24, "its bitmaps' header is cut off");
  const count = bytes.readUInt32BE(0);
  const directory = {
    count: offsetAt(bytes, 8, "its bitmap directory's length"),
    offset: offsetAt(bytes, 16, "its bitmap directory"),
  };
  need(count <= bitmapCountMax, "it has more than 65535 bitmaps");
  need(
    directory.count <= count * 1024 * 4 && directory.offset + directory.count <= fileBytes,
    "its bitmap directory lies outside of the file",
  );
  return { count, directory };
}

function offsetAt(bytes: Buffer, at: number, what: string): number {
  const value = bytes.readBigUInt64BE(at);
  if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw new Qcow2Fault(`${what} is absurdly large`);
  return Number(value);
}

function need(condition: boolean, fault: string): asserts condition {
  if (!condition) throw new Qcow2Fault(fault);
}
