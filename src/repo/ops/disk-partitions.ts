/** The partitions of a disk in a snapshot, and what of them a change touched. */
import {
  type Partition,
  type PartitionTable,
  partitionTypeName,
  readPartitionTable,
} from "../../image/index.ts";
import { CorruptionError } from "../../errors.ts";
import type { ChangedRange } from "./diff/image-ranges.ts";
import type { ImageReader } from "./image-reader.ts";

/** Header and entries of nearly every table: one read, where small ones in a row would begin a read-ahead. */
const headBytes = 32_768;

/** `partition` is undefined for what lies in none: the table itself, and gaps. */
export interface ChangedPartition {
  readonly partition: Partition | undefined;
  readonly changedBytes: number;
}

/** @returns undefined where there is no table, or its bytes are lost: `check` tells of those */
export async function partitionsOf(image: ImageReader): Promise<PartitionTable | undefined> {
  try {
    const head = await bytesOf(image, 0, headBytes);
    return await readPartitionTable(image.size, (offset, length) =>
      offset + length <= head.length
        ? Promise.resolve(head.subarray(offset, offset + length))
        : bytesOf(image, offset, length),
    );
  } catch (error) {
    if (error instanceof CorruptionError) return undefined;
    throw error;
  }
}

/**
 * Logical partitions stand for the extended one that holds them.
 *
 * @param ranges  ascending and apart
 */
export function changedPartitions(
  table: PartitionTable,
  ranges: readonly ChangedRange[],
): ChangedPartition[] {
  const sums = [0];
  for (const { length } of ranges) sums.push(sums.at(-1)! + length);
  /** Changed bytes before an offset. */
  const before = (offset: number): number => {
    let [low, high] = [0, ranges.length];
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      if (ranges[middle]!.offset < offset) low = middle + 1;
      else high = middle;
    }
    const last = ranges[low - 1];
    const beyond = last === undefined ? 0 : Math.max(0, last.offset + last.length - offset);
    return sums[low]! - beyond;
  };
  const changed = leaves(table).map((partition) => ({
    partition,
    changedBytes: before(partition.start + partition.length) - before(partition.start),
  }));
  const inside = changed.reduce((sum, { changedBytes }) => sum + changedBytes, 0);
  const outside = { partition: undefined, changedBytes: sums.at(-1)! - inside };
  return [...changed, outside].filter(({ changedBytes }) => changedBytes > 0);
}

/** Numbers of the partitions that a range lies in. */
export function partitionsIn(table: PartitionTable, { offset, length }: ChangedRange): number[] {
  return leaves(table)
    .filter((partition) => {
      const end = partition.start + partition.length;
      return partition.start < offset + length && end > offset;
    })
    .map(({ number }) => number);
}

function leaves({ partitions }: PartitionTable): readonly Partition[] {
  return partitions.filter(({ type }) => partitionTypeName(type) !== "extended");
}

async function bytesOf(image: ImageReader, offset: number, length: number): Promise<Uint8Array> {
  const end = Math.min(image.size, offset + length);
  const bytes = new Uint8Array(Math.max(0, end - offset));
  let at = 0;
  for (const part of end > offset ? await image.read(offset, end - offset) : []) {
    if (typeof part === "number") at += part;
    else {
      bytes.set(part, at);
      at += part.length;
    }
  }
  return bytes;
}
