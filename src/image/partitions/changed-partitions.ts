/** What of a disk's partitions a change touched. */
import type { DiskRange } from "../disk-source.ts";
import type { Partition, PartitionTable } from "./partition.ts";
import { partitionTypeName } from "./type-names.ts";

/** `partition` is undefined for what lies in none: the table itself, and gaps. */
export interface ChangedPartition {
  readonly partition: Partition | undefined;
  readonly changedBytes: number;
}

/**
 * Logical partitions stand for the extended one that holds them.
 *
 * @param ranges  ascending and apart
 */
export function changedPartitions(
  table: PartitionTable,
  ranges: readonly DiskRange[],
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
export function partitionsIn(table: PartitionTable, { offset, length }: DiskRange): number[] {
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
