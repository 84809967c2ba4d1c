/**
 * Where everything lies in a qcow2 file that is written anew: tables first, then the clusters that hold
 * data, in the order of the disk and without gaps.
 *
 *   header ‖ refcount table ‖ refcount blocks ‖ L1 table ‖ L2 tables ‖ data clusters
 *
 * So neighbours on the disk are neighbours in the file, a chunk is one write, and the layout follows from
 * the disk's map alone: a restore that was stopped finds what it had written where it belongs.
 */
import { assert, FailedError } from "../../errors.ts";
import { ClusterSet } from "./cluster-set.ts";

/** Of what kind the file is to be. */
export interface Qcow2Kind {
  readonly clusterBytes: number;
  readonly compat: "0.10" | "1.1";
  /** For clusters that others compress later: here none are. */
  readonly compression: "deflate" | "zstd";
  readonly lazyRefcounts: boolean;
  readonly extendedL2: boolean;
}

export interface Qcow2Layout {
  readonly kind: Qcow2Kind;
  /** Bytes that are restored. */
  readonly size: number;
  /** Of the disk as a guest sees it: a multiple of 512. */
  readonly diskBytes: number;
  readonly clusters: ClusterSet;
  readonly refcountTable: TableRange;
  readonly refcountBlocks: TableRange;
  readonly l1: TableRange & { readonly entries: number };
  readonly l2: TableRange;
  readonly dataOffset: number;
  readonly fileBytes: number;
}

/** Whole clusters. */
export interface TableRange {
  readonly offset: number;
  readonly clusters: number;
}

export interface HostPiece {
  readonly offset: number;
  readonly length: number;
}

/** QEMU's defaults. */
export const defaultKind: Qcow2Kind = {
  clusterBytes: 65_536,
  compat: "1.1",
  compression: "deflate",
  lazyRefcounts: false,
  extendedL2: false,
};

const sectorBytes = 512;
const clusterBytesMax = 2 ** 21;
const extendedClusterBytesMin = 2 ** 14;
/** QEMU's bounds on tables. */
const l1BytesMax = 32 * 2 ** 20;
const refcountTableBytesMax = 8 * 2 ** 20;
/** Refcounts have 16 bits: the only width of version 2, and QEMU's default. */
const refcountBytes = 2;

/**
 * What can be written of the kind that is wanted: version 2 knows fewer features, and small clusters
 * cannot hold a large disk.
 */
export function possibleKind(wanted: Qcow2Kind, diskBytes: number): Qcow2Kind {
  const isV3 = wanted.compat === "1.1";
  const extendedL2 = isV3 && wanted.extendedL2 && wanted.clusterBytes >= extendedClusterBytesMin;
  let { clusterBytes } = wanted;
  const fits = (): boolean =>
    Math.ceil(diskBytes / l2Span(clusterBytes, extendedL2)) * 8 <= l1BytesMax;
  while (!fits() && clusterBytes < clusterBytesMax) clusterBytes *= 2;
  return {
    clusterBytes,
    compat: wanted.compat,
    compression: isV3 ? wanted.compression : "deflate",
    lazyRefcounts: isV3 && wanted.lazyRefcounts,
    extendedL2,
  };
}

/**
 * @param kind  as `possibleKind` gave it
 * @param clusters  all that hold data, in clusters of that kind
 */
export function layOut(kind: Qcow2Kind, size: number, clusters: ClusterSet): Qcow2Layout {
  const { clusterBytes, extendedL2 } = kind;
  assert(clusters.clusterBytes === clusterBytes, "clusters of one size");
  const diskBytes = Math.ceil(size / sectorBytes) * sectorBytes;
  // QEMU wants a table even of a disk without a byte.
  const entries = Math.max(1, Math.ceil(diskBytes / l2Span(clusterBytes, extendedL2)));
  const l1Clusters = Math.max(1, Math.ceil((entries * 8) / clusterBytes));
  const l2Clusters = countTables(clusters, l2Entries(clusterBytes, extendedL2));
  const counted = 1 + l1Clusters + l2Clusters + clusters.count;
  const { blocks, tableClusters } = refcountClusters(counted, clusterBytes);
  if (tableClusters * clusterBytes > refcountTableBytesMax || entries * 8 > l1BytesMax) {
    throw new FailedError(
      `Cannot write a qcow2 file: ${diskBytes} bytes are too many for clusters of ${clusterBytes}`,
      { hint: "Restore it as a raw disk, and convert that: qemu-img convert -O qcow2" },
    );
  }
  let next = clusterBytes;
  const take = (count: number): TableRange => {
    const range = { offset: next, clusters: count };
    next += count * clusterBytes;
    return range;
  };
  return {
    kind,
    size,
    diskBytes,
    clusters,
    refcountTable: take(tableClusters),
    refcountBlocks: take(blocks),
    l1: { ...take(l1Clusters), entries },
    l2: take(l2Clusters),
    dataOffset: next,
    fileBytes: next + clusters.count * clusterBytes,
  };
}

/**
 * Where data of the disk lies in the file: one piece, since all its clusters hold data.
 *
 * @returns undefined where there is no cluster for it
 */
export function hostOffset({ kind, clusters, dataOffset }: Qcow2Layout, offset: number) {
  const rank = clusters.rank(Math.floor(offset / kind.clusterBytes));
  if (rank === undefined) return undefined;
  return dataOffset + rank * kind.clusterBytes + (offset % kind.clusterBytes);
}

/** What a hole has in the file: parts of clusters at its ends that hold data beside it. */
export function holePieces(layout: Qcow2Layout, offset: number, length: number): HostPiece[] {
  const { clusterBytes } = layout.kind;
  const end = offset + length;
  const headEnd = Math.min(end, Math.ceil(offset / clusterBytes) * clusterBytes);
  const tailStart = Math.max(headEnd, Math.floor(end / clusterBytes) * clusterBytes);
  return [
    { from: offset, to: headEnd },
    { from: tailStart, to: end },
  ].flatMap(({ from, to }) => {
    const host = to > from ? hostOffset(layout, from) : undefined;
    return host === undefined ? [] : [{ offset: host, length: to - from }];
  });
}

/** Clusters that one L2 table tells of. */
export function l2Entries(clusterBytes: number, extendedL2: boolean): number {
  return clusterBytes / (extendedL2 ? 16 : 8);
}

function l2Span(clusterBytes: number, extendedL2: boolean): number {
  return l2Entries(clusterBytes, extendedL2) * clusterBytes;
}

function countTables(clusters: ClusterSet, entries: number): number {
  let count = 0;
  let last = -1;
  for (const { first, count: length } of clusters.runs()) {
    const from = Math.max(last + 1, Math.floor(first / entries));
    const to = Math.floor((first + length - 1) / entries);
    count += Math.max(0, to - from + 1);
    last = Math.max(last, to);
  }
  return count;
}

/** They count themselves, too. */
function refcountClusters(
  counted: number,
  clusterBytes: number,
): { readonly blocks: number; readonly tableClusters: number } {
  let [blocks, tableClusters] = [0, 0];
  for (;;) {
    const all = counted + blocks + tableClusters;
    const blocksNeeded = Math.ceil((all * refcountBytes) / clusterBytes);
    const tableNeeded = Math.ceil((blocksNeeded * 8) / clusterBytes);
    if (blocksNeeded === blocks && tableNeeded === tableClusters) return { blocks, tableClusters };
    [blocks, tableClusters] = [blocksNeeded, tableNeeded];
  }
}
