/**
 * GPT: a header in the second sector and a copy of it in the last one, each with an array of entries.
 *
 *   header:  0 "EFI PART"  12 header bytes u32   16 CRC-32 of the header  24 own sector u64
 *           72 first sector of the entries u64   80 count u32  84 entry bytes u32  88 CRC-32 of the entries
 *   entry:   0 type GUID   32 first sector u64   40 last sector u64       56 name, 36 units of UTF-16
 *
 * Little-endian; so are the first three parts of a GUID.
 *
 * @see UEFI specification 2.10, chapter 5
 */
import { crc32 } from "node:zlib";
import type { Partition } from "./partition.ts";

export interface GptHeader {
  readonly entriesOffset: number;
  readonly entryBytes: number;
  readonly count: number;
  readonly entriesCrc: number;
}

const signature = Buffer.from("EFI PART", "latin1");
const headerBytesMin = 92;
const entryBytesMin = 128;
/** 512 entries; everybody makes 128. */
const entriesBytesMax = 65_536;
const nameOffset = 56;
const nameEnd = 128;
const unusedType = "00000000-0000-0000-0000-000000000000";

/** @returns undefined when these bytes are no header of that sector, or a damaged one */
export function decodeGptHeader(
  bytes: Uint8Array,
  sector: number,
  sectorBytes: number,
): GptHeader | undefined {
  const header = Buffer.from(bytes);
  if (header.length < sectorBytes || !header.subarray(0, 8).equals(signature)) return undefined;
  const headerBytes = header.readUInt32LE(12);
  if (headerBytes < headerBytesMin || headerBytes > sectorBytes) return undefined;
  const crc = header.readUInt32LE(16);
  header.writeUInt32LE(0, 16);
  if (crc32(header.subarray(0, headerBytes)) !== crc) return undefined;
  if (header.readBigUInt64LE(24) !== BigInt(sector)) return undefined;
  const count = header.readUInt32LE(80);
  const entryBytes = header.readUInt32LE(84);
  if (entryBytes < entryBytesMin || entryBytes % 8 !== 0) return undefined;
  if (count * entryBytes > entriesBytesMax) return undefined;
  const entriesOffset = bytesOf(header.readBigUInt64LE(72), sectorBytes);
  if (entriesOffset === undefined) return undefined;
  return { entriesOffset, entryBytes, count, entriesCrc: header.readUInt32LE(88) };
}

/** @returns undefined when the entries are not those that the header means */
export function decodeGptEntries(
  bytes: Uint8Array,
  { entryBytes, count, entriesCrc }: GptHeader,
  sectorBytes: number,
): Partition[] | undefined {
  const entries = Buffer.from(bytes);
  if (entries.length !== count * entryBytes || crc32(entries) !== entriesCrc) return undefined;
  const partitions: Partition[] = [];
  for (let index = 0; index < count; index++) {
    const entry = entries.subarray(index * entryBytes, (index + 1) * entryBytes);
    const type = guid(entry);
    const first = entry.readBigUInt64LE(32);
    const last = entry.readBigUInt64LE(40);
    if (type === unusedType || last < first) continue;
    const start = bytesOf(first, sectorBytes);
    const length = bytesOf(last - first + 1n, sectorBytes);
    if (start === undefined || length === undefined) continue;
    const name = nameOf(entry.subarray(nameOffset, nameEnd));
    const named = name === "" ? {} : { name };
    partitions.push({ number: index + 1, ...named, type, start, length });
  }
  return partitions;
}

function bytesOf(sectors: bigint, sectorBytes: number): number | undefined {
  const bytes = sectors * BigInt(sectorBytes);
  return bytes <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(bytes) : undefined;
}

function guid(bytes: Buffer): string {
  const hex = (from: number, to: number): string => bytes.toString("hex", from, to);
  const swapped = (from: number, to: number): string =>
    Buffer.from(bytes.subarray(from, to)).reverse().toString("hex");
  const parts = [swapped(0, 4), swapped(4, 6), swapped(6, 8), hex(8, 10), hex(10, 16)];
  return parts.join("-").toUpperCase();
}

/** What is no text becomes U+FFFD. */
function nameOf(bytes: Buffer): string {
  const text = bytes.toString("utf16le");
  const end = text.indexOf("\0");
  return Buffer.from(end < 0 ? text : text.slice(0, end)).toString();
}
