/** Partitions of a disk, for people and for `--json` (docs/json.md). */
import type { Partition, PartitionTable } from "../repo/index.ts";
import { partitionTypeName } from "../image/index.ts";
import { printableName } from "../names.ts";
import { formatBytes } from "./text.ts";

/** `GPT`, `MBR` or that there is none. */
export function tableText(table: PartitionTable | undefined): string {
  return table === undefined ? "no partition table" : table.kind.toUpperCase();
}

/** `2 "root", Linux file system` */
export function partitionText({ number, name, type }: Partition): string {
  const named = name === undefined ? "" : ` "${printableName(name)}"`;
  return `${number}${named}, ${partitionTypeName(type) ?? `type ${type}`}`;
}

/** One line a partition, and what is wrong with the table. */
export function partitionLines({ partitions, faults }: PartitionTable): string[] {
  const places = partitions.map(({ start, length }) => [formatBytes(start), formatBytes(length)]);
  const widths = [0, 1].map((column) => Math.max(0, ...places.map((row) => row[column]!.length)));
  return [
    ...partitions.map((partition, row) => {
      const [start, length] = places[row]!.map((text, at) => text.padStart(widths[at]!));
      return `    at ${start!}  ${length!}  partition ${partitionText(partition)}`;
    }),
    ...faults.map((fault) => `    partition table: ${fault}`),
  ];
}

export function tableDocument({ kind, sectorBytes, partitions, faults }: PartitionTable): object {
  return {
    type: kind,
    sector_size: sectorBytes,
    partitions: partitions.map(partitionDocument),
    faults: faults.length === 0 ? undefined : faults,
  };
}

export function partitionDocument({ number, name, type, start, length }: Partition): object {
  return { number, name, type, type_name: partitionTypeName(type), start, size: length };
}
