/** Finds a disk's partition table, by few and short reads. */
import { decodeGptEntries, decodeGptHeader, type GptHeader } from "./gpt.ts";
import {
  decodeMbr,
  isExtended,
  isUsed,
  type MbrEntry,
  mbrTypeText,
  protectiveType,
} from "./mbr.ts";
import type { Partition, PartitionTable, ReadDisk } from "./partition.ts";

const mbrSectorBytes = 512;
const gptSectorSizes = [512, 4096] as const;
/** Linux sees no more of them. */
const logicalCountMax = 256;
const firstLogicalNumber = 5;

/**
 * @param size  of the disk, in bytes
 * @returns undefined where there is no table: a file system without one, or nothing
 */
export async function readPartitionTable(
  size: number,
  read: ReadDisk,
): Promise<PartitionTable | undefined> {
  const entries = decodeMbr(await read(0, Math.min(size, mbrSectorBytes)));
  const isProtected = entries?.some(({ type }) => type === protectiveType) ?? false;
  // As Linux has it: a GPT that others cannot see may be left over from before.
  if (entries?.some(isUsed) === true && !isProtected) return readMbr(size, read, entries);
  const first = await readGpt(size, read, () => 1);
  if (first !== undefined) {
    const faults = isProtected ? [] : ["the protective MBR is missing"];
    return { ...first, faults };
  }
  if (!isProtected) return undefined;
  const copy = await readGpt(size, read, (sectorBytes) => Math.floor(size / sectorBytes) - 1);
  if (copy !== undefined)
    return { ...copy, faults: ["the first GPT header is missing or damaged, its copy is used"] };
  const faults = ["both GPT headers are missing or damaged"];
  return { kind: "gpt", sectorBytes: mbrSectorBytes, partitions: [], faults };
}

async function readGpt(
  size: number,
  read: ReadDisk,
  sectorOf: (sectorBytes: number) => number,
): Promise<Omit<PartitionTable, "faults"> | undefined> {
  for (const sectorBytes of gptSectorSizes) {
    const partitions = await gptAt(size, read, sectorOf(sectorBytes), sectorBytes);
    if (partitions !== undefined) return { kind: "gpt", sectorBytes, partitions };
  }
  return undefined;
}

async function gptAt(
  size: number,
  read: ReadDisk,
  sector: number,
  sectorBytes: number,
): Promise<Partition[] | undefined> {
  const offset = sector * sectorBytes;
  if (sector < 1 || offset + sectorBytes > size) return undefined;
  const header = decodeGptHeader(await read(offset, sectorBytes), sector, sectorBytes);
  if (header === undefined || !isInside(header, size)) return undefined;
  const entries = await read(header.entriesOffset, header.count * header.entryBytes);
  return decodeGptEntries(entries, header, sectorBytes);
}

function isInside({ entriesOffset, count, entryBytes }: GptHeader, size: number): boolean {
  return entriesOffset + count * entryBytes <= size;
}

async function readMbr(
  size: number,
  read: ReadDisk,
  entries: readonly MbrEntry[],
): Promise<PartitionTable | undefined> {
  const partitions: Partition[] = [];
  const faults: string[] = [];
  for (const [index, entry] of entries.entries()) {
    if (!isUsed(entry)) continue;
    // Then these are no entries but a boot program's bytes.
    if (entry.first === 0 || entry.first * mbrSectorBytes >= size) return undefined;
    partitions.push(placed(entry, index + 1, 0));
  }
  const extended = entries.find((entry) => isUsed(entry) && isExtended(entry));
  if (extended !== undefined) {
    const fault = await readLogical(size, read, extended, partitions);
    if (fault !== undefined) faults.push(fault);
  }
  return { kind: "mbr", sectorBytes: mbrSectorBytes, partitions, faults };
}

/** @returns what is wrong with the chain */
async function readLogical(
  size: number,
  read: ReadDisk,
  extended: MbrEntry,
  partitions: Partition[],
): Promise<string | undefined> {
  const end = extended.first + extended.count;
  const seen = new Set<number>();
  let number = firstLogicalNumber;
  for (let sector = extended.first; ;) {
    if (seen.has(sector)) return "its logical partitions form a loop";
    if (seen.size === logicalCountMax) return "it has more than 256 logical partitions";
    seen.add(sector);
    if (sector >= end || (sector + 1) * mbrSectorBytes > size)
      return "its logical partitions lead outside of the disk";
    const entries = decodeMbr(await read(sector * mbrSectorBytes, mbrSectorBytes));
    if (entries === undefined) return "a table of its logical partitions is damaged";
    const [own, next] = [entries[0]!, entries[1]!];
    if (isUsed(own)) partitions.push(placed(own, number++, sector));
    if (!isUsed(next)) return undefined;
    sector = extended.first + next.first;
  }
}

function placed({ type, first, count }: MbrEntry, number: number, base: number): Partition {
  return {
    number,
    type: mbrTypeText(type),
    start: (base + first) * mbrSectorBytes,
    length: count * mbrSectorBytes,
  };
}
