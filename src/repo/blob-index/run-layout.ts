/**
 * A run file: an immutable sorted part of the index cache.
 *
 * ```
 * header 128 | fan-out u32[2^bits + 1] | filter 64-byte blocks | buckets | tables
 * header:  0 magic "ASHLRUN1" | 8 repository id 16 | 24 record count u32 | 28 fan-out bits u32 | 32 filter
 *          blocks u32 | 36 tables length u32 | 40 buckets length u64 | 48 CRC-32 of fan-out, filter, tables,
 *          buckets (u32 each) | 64 zeros | 124 CRC-32 of bytes 0..123
 * fan-out: where bucket b begins in the buckets, in units of 8 bytes; its ids begin with the bits of b
 * bucket:  CRC-32 u32 of the rest, begun with b | record count u32 | records | base prefixes 8 each;
 *          an empty bucket has no bytes
 * tables:  pack count u32 | packs | object count u32 | objects
 * pack:    name 32 | digest of its facts 16 | size u32 | blob count u32 | bit 0 class, bit 1 records are here
 * object:  name 32 | writer 16 | stored size u32 | replaced count u32 | pack count u32 | replaced names |
 *          pack numbers u32
 * ```
 *
 * The checksums find accidents (torn writes, bit rot), not enemies: who can write to the cache folder
 * can write to the program too.
 */
import { crc32 } from "node:zlib";
import { fromHex, toHex, utf8Bytes } from "../../bytes.ts";
import { readU32, writeU32 } from "./record.ts";

export const headerBytes = 128;
export const bucketHeaderBytes = 8;
const magic = utf8Bytes("ASHLRUN1");
const packBytes = 57;
const fanoutBitsMax = 24;
const recordsPerBucket = 32;

/** The cache's bytes are not what was written: its content is fetched again, no caller sees this. */
export class CacheDamage extends Error {}

export function checkCache(condition: boolean, what: string): asserts condition {
  if (!condition) throw new CacheDamage(what);
}

export interface RunHeader {
  readonly repoId: Uint8Array;
  readonly recordCount: number;
  readonly fanoutBits: number;
  readonly filterBlocks: number;
  readonly tablesLength: number;
  readonly bucketsLength: number;
  readonly fanoutCrc: number;
  readonly filterCrc: number;
  readonly tablesCrc: number;
  readonly bucketsCrc: number;
}

/** What a run knows of a pack; `hasRecords` when the pack's blobs stand in this run. */
export interface RunPack {
  readonly name: Uint8Array;
  readonly facts: Uint8Array;
  readonly size: number;
  readonly blobCount: number;
  readonly classBit: number;
  readonly hasRecords: boolean;
}

/** An index object that was taken in: which packs it names, by their numbers in the run. */
export interface RunObject {
  readonly name: string;
  readonly writerId: string;
  readonly size: number;
  readonly replaces: readonly string[];
  readonly packs: Uint32Array;
}

export function fanoutBits(records: number): number {
  return Math.min(fanoutBitsMax, Math.max(0, Math.floor(Math.log2(records / recordsPerBucket))));
}

export function bucketOf(key: number, bits: number): number {
  return bits === 0 ? 0 : key >>> (32 - bits);
}

/** Where each section begins, and the file's length. */
export function sections(
  header: Pick<RunHeader, "fanoutBits" | "filterBlocks" | "bucketsLength" | "tablesLength">,
) {
  const fanout = headerBytes;
  const filter = Math.ceil((fanout + 4 * (2 ** header.fanoutBits + 1)) / 64) * 64;
  const buckets = filter + header.filterBlocks * 64;
  const tables = buckets + header.bucketsLength;
  return { fanout, filter, buckets, tables, end: tables + header.tablesLength };
}

export function encodeHeader(header: RunHeader): Uint8Array {
  const bytes = new Uint8Array(headerBytes);
  bytes.set(magic, 0);
  bytes.set(header.repoId, 8);
  writeU32(bytes, 24, header.recordCount);
  writeU32(bytes, 28, header.fanoutBits);
  writeU32(bytes, 32, header.filterBlocks);
  writeU32(bytes, 36, header.tablesLength);
  writeU32(bytes, 40, header.bucketsLength % 2 ** 32);
  writeU32(bytes, 44, Math.floor(header.bucketsLength / 2 ** 32));
  writeU32(bytes, 48, header.fanoutCrc);
  writeU32(bytes, 52, header.filterCrc);
  writeU32(bytes, 56, header.tablesCrc);
  writeU32(bytes, 60, header.bucketsCrc);
  writeU32(bytes, 124, crc32(bytes.subarray(0, 124)));
  return bytes;
}

export function decodeHeader(bytes: Uint8Array, repoId: Uint8Array): RunHeader {
  checkCache(bytes.length === headerBytes, "run header is cut off");
  checkCache(readU32(bytes, 124) === crc32(bytes.subarray(0, 124)), "run header checksum");
  checkCache(Buffer.compare(bytes.subarray(0, 8), magic) === 0, "not a run of this version");
  checkCache(Buffer.compare(bytes.subarray(8, 24), repoId) === 0, "run of another repository");
  const header: RunHeader = {
    repoId,
    recordCount: readU32(bytes, 24),
    fanoutBits: readU32(bytes, 28),
    filterBlocks: readU32(bytes, 32),
    tablesLength: readU32(bytes, 36),
    bucketsLength: readU32(bytes, 40) + readU32(bytes, 44) * 2 ** 32,
    fanoutCrc: readU32(bytes, 48),
    filterCrc: readU32(bytes, 52),
    tablesCrc: readU32(bytes, 56),
    bucketsCrc: readU32(bytes, 60),
  };
  checkCache(header.fanoutBits <= fanoutBitsMax && header.filterBlocks > 0, "run header fields");
  return header;
}

export function encodeTables(packs: readonly RunPack[], objects: readonly RunObject[]): Uint8Array {
  let length = 8 + packs.length * packBytes;
  for (const object of objects)
    length += 60 + object.replaces.length * 32 + object.packs.length * 4;
  const bytes = new Uint8Array(length);
  writeU32(bytes, 0, packs.length);
  let at = 4;
  for (const pack of packs) {
    bytes.set(pack.name, at);
    bytes.set(pack.facts, at + 32);
    writeU32(bytes, at + 48, pack.size);
    writeU32(bytes, at + 52, pack.blobCount);
    bytes[at + 56] = pack.classBit | (pack.hasRecords ? 2 : 0);
    at += packBytes;
  }
  writeU32(bytes, at, objects.length);
  at += 4;
  for (const object of objects) {
    bytes.set(fromHex(object.name), at);
    bytes.set(fromHex(object.writerId), at + 32);
    writeU32(bytes, at + 48, object.size);
    writeU32(bytes, at + 52, object.replaces.length);
    writeU32(bytes, at + 56, object.packs.length);
    at += 60;
    for (const name of object.replaces) {
      bytes.set(fromHex(name), at);
      at += 32;
    }
    for (const pack of object.packs) {
      writeU32(bytes, at, pack);
      at += 4;
    }
  }
  return bytes;
}

/** Bytes whose checksum has been compared: only their shape is left to check. */
export function decodeTables(bytes: Uint8Array): { packs: RunPack[]; objects: RunObject[] } {
  let at = 0;
  const take = (length: number): number => {
    at += length;
    checkCache(at <= bytes.length, "run tables are cut off");
    return at - length;
  };
  const packs: RunPack[] = [];
  for (let left = readU32(bytes, take(4)); left > 0; left--) {
    const from = take(packBytes);
    packs.push({
      name: bytes.subarray(from, from + 32),
      facts: bytes.subarray(from + 32, from + 48),
      size: readU32(bytes, from + 48),
      blobCount: readU32(bytes, from + 52),
      classBit: bytes[from + 56]! & 1,
      hasRecords: (bytes[from + 56]! & 2) !== 0,
    });
  }
  const objects: RunObject[] = [];
  for (let left = readU32(bytes, take(4)); left > 0; left--) {
    const from = take(60);
    const replaces: string[] = [];
    for (let names = readU32(bytes, from + 52); names > 0; names--) {
      const name = take(32);
      replaces.push(toHex(bytes.subarray(name, name + 32)));
    }
    const packNumbers = new Uint32Array(readU32(bytes, from + 56));
    for (let i = 0; i < packNumbers.length; i++) packNumbers[i] = readU32(bytes, take(4));
    checkCache(
      packNumbers.every((pack) => pack < packs.length),
      "run tables name an unknown pack",
    );
    objects.push({
      name: toHex(bytes.subarray(from, from + 32)),
      writerId: toHex(bytes.subarray(from + 32, from + 48)),
      size: readU32(bytes, from + 48),
      replaces,
      packs: packNumbers,
    });
  }
  return { packs, objects };
}
