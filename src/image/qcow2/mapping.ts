/**
 * One entry of an L2 table: where a guest's cluster lies.
 *
 * Plain: bits 9-55 host offset, bit 0 reads as zeros (version 3, not with extended entries).
 * Bit 62: compressed; with x = 62 - (cluster bits - 8), bits 0 to x-1 are the host offset in bytes and
 * the bits up to 61 count 512-byte sectors behind the one it begins in.
 * Extended: a second word tells of 32 subclusters which are allocated (low half), which are zero (high).
 */
import { Qcow2Fault } from "./fault.ts";
import type { Qcow2Header } from "./header.ts";

/** Part of a cluster; `start` and `length` are from its start. */
export type ClusterPart =
  | { readonly kind: "zero" | "backing"; readonly start: number; readonly length: number }
  | {
      readonly kind: "data";
      readonly start: number;
      readonly length: number;
      readonly hostOffset: number;
    }
  | {
      readonly kind: "compressed";
      readonly start: number;
      readonly length: number;
      readonly hostOffset: number;
      /** At most so long: it may end before, and other clusters follow. */
      readonly hostBytes: number;
    };

const offsetMask = 0x00ff_ffff_ffff_fe00n;
const compressedBit = 1n << 62n;
const copiedBit = 1n << 63n;
const subclusterCount = 32;

type Shape = Pick<
  Qcow2Header,
  "version" | "clusterBits" | "clusterBytes" | "hasExtendedL2" | "dataFile"
>;

/** The offset of the L2 table that an L1 entry names; undefined: there is none. */
export function l2TableOffset(entry: bigint, clusterBytes: number): number | undefined {
  const offset = Number(entry & offsetMask);
  if (offset === 0) return undefined;
  if (offset % clusterBytes !== 0) throw new Qcow2Fault("an L2 table is not aligned");
  return offset;
}

/** @param subclusters  the entry's second word; 0 where entries have none */
export function decodeCluster(shape: Shape, entry: bigint, subclusters: bigint): ClusterPart[] {
  const { clusterBits, clusterBytes, hasExtendedL2, version, dataFile } = shape;
  if ((entry & compressedBit) !== 0n) {
    if (dataFile !== undefined) throw new Qcow2Fault("a compressed cluster lies in a data file");
    return [compressedCluster(entry, clusterBits, clusterBytes)];
  }
  const hostOffset = Number(entry & offsetMask);
  if (hostOffset % clusterBytes !== 0) throw new Qcow2Fault("a data cluster is not aligned");
  // Offset 0 is the header, but in a data file it is a cluster like others.
  const isAllocated = hostOffset !== 0 || (dataFile !== undefined && (entry & copiedBit) !== 0n);
  if (hasExtendedL2) return subclusterParts(clusterBytes, hostOffset, isAllocated, subclusters);
  const whole = { start: 0, length: clusterBytes };
  if (version === 3 && (entry & 1n) !== 0n) return [{ kind: "zero", ...whole }];
  if (!isAllocated) return [{ kind: "backing", ...whole }];
  return [{ kind: "data", ...whole, hostOffset }];
}

function compressedCluster(entry: bigint, clusterBits: number, clusterBytes: number): ClusterPart {
  const offsetBits = BigInt(62 - (clusterBits - 8));
  const hostOffset = Number(entry & ((1n << offsetBits) - 1n));
  const sectors = Number((entry & (compressedBit - 1n)) >> offsetBits) + 1;
  const hostBytes = sectors * 512 - (hostOffset % 512);
  return { kind: "compressed", start: 0, length: clusterBytes, hostOffset, hostBytes };
}

function subclusterParts(
  clusterBytes: number,
  hostOffset: number,
  isAllocated: boolean,
  bits: bigint,
): ClusterPart[] {
  const allocated = Number(bits & 0xffff_ffffn);
  const zero = Number(bits >> 32n);
  if ((allocated & zero) !== 0) throw new Qcow2Fault("a subcluster is both allocated and zero");
  if (allocated !== 0 && !isAllocated)
    throw new Qcow2Fault("a subcluster is allocated in a cluster that is not");
  const length = clusterBytes / subclusterCount;
  const parts: ClusterPart[] = [];
  for (let index = 0; index < subclusterCount; index++) {
    const start = index * length;
    if (((allocated >>> index) & 1) === 1)
      parts.push({ kind: "data", start, length, hostOffset: hostOffset + start });
    else parts.push({ kind: ((zero >>> index) & 1) === 1 ? "zero" : "backing", start, length });
  }
  return parts;
}
