/**
 * The fixed-width record of one blob in one pack, as it lies in a run file.
 *
 * ```
 *  0 id 32 | 32 pack u32 (number in the run's own pack table) | 36 offset u32 | 40 sealed length u32
 * 44 plain length u32 | 48 ordinal u16 | 50 form (bits 0-1), depth (2-5), class (6) | 51 base count u8
 * 52 first base u32 (number in the bucket's base list)
 * ```
 */
import type { BlobClass } from "../format/index.ts";

export const idBytes = 32;
export const prefixBytes = 8;
export const recordBytes = 56;

/** Says "no pack": of an id that is being stored, of a pack whose records count elsewhere. */
export const noPack = 0xffff_ffff;

export interface RecordFields {
  readonly cls: BlobClass;
  readonly pack: number;
  readonly ordinal: number;
  readonly offset: number;
  readonly sealedLength: number;
  readonly plainLength: number;
  readonly form: number;
  readonly depth: number;
  readonly baseCount: number;
  readonly baseFirst: number;
}

export function readU32(bytes: Uint8Array, at: number): number {
  return (
    (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0
  );
}

export function writeU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value;
  bytes[at + 1] = value >>> 8;
  bytes[at + 2] = value >>> 16;
  bytes[at + 3] = value >>> 24;
}

/** Ids sort by their bytes, so their leading bits are read big-endian. */
export function readKey(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) >>> 0
  );
}

export function compareIds(
  a: Uint8Array,
  aAt: number,
  b: Uint8Array,
  bAt: number,
  length = idBytes,
): number {
  for (let i = 0; i < length; i++) {
    const difference = a[aAt + i]! - b[bAt + i]!;
    if (difference !== 0) return difference;
  }
  return 0;
}

/** Writes all but the id, which the caller has set. */
export function writeRecord(bytes: Uint8Array, at: number, fields: RecordFields): void {
  writeU32(bytes, at + 32, fields.pack);
  writeU32(bytes, at + 36, fields.offset);
  writeU32(bytes, at + 40, fields.sealedLength);
  writeU32(bytes, at + 44, fields.plainLength);
  bytes[at + 48] = fields.ordinal;
  bytes[at + 49] = fields.ordinal >>> 8;
  bytes[at + 50] = fields.form | (fields.depth << 2) | (classBit(fields.cls) << 6);
  bytes[at + 51] = fields.baseCount;
  writeU32(bytes, at + 52, fields.baseFirst);
}

export function recordPack(bytes: Uint8Array, at: number): number {
  return readU32(bytes, at + 32);
}

export function recordClassBit(bytes: Uint8Array, at: number): number {
  return (bytes[at + 50]! >> 6) & 1;
}

export function recordForm(bytes: Uint8Array, at: number): number {
  return bytes[at + 50]! & 3;
}

export function recordDepth(bytes: Uint8Array, at: number): number {
  return (bytes[at + 50]! >> 2) & 15;
}

export function recordBaseCount(bytes: Uint8Array, at: number): number {
  return bytes[at + 51]!;
}

export function recordBaseFirst(bytes: Uint8Array, at: number): number {
  return readU32(bytes, at + 52);
}

export function classBit(cls: BlobClass): number {
  return cls === "tree" ? 1 : 0;
}
