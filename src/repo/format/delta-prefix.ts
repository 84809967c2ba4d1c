/**
 * The opened content of a blob in delta form: its bases, then a zstd frame against them.
 *
 *   u8 base count (1..4) ‖ per base: id 32 ‖ u16 slice offset ‖ u16 slice length ‖ zstd frame
 *
 * Slices count 4 KiB blocks; 0 and 0 is the whole base, and a slice ends with its base. The frame's
 * dictionary is 8 zero bytes, then the slices' bytes as listed, the least likely first.
 */
import { assert, CorruptionError } from "../../errors.ts";
import { ByteReader } from "./byte-reader.ts";
import { ByteWriter } from "./byte-writer.ts";
import {
  blobPlainBytesMax,
  blockBytes,
  deltaBaseCountMax,
  deltaDictionaryBytesMax,
  idBytes,
} from "./limits.ts";

export interface DeltaSlice {
  readonly offsetBlocks: number;
  readonly lengthBlocks: number;
}

export interface DeltaBase {
  readonly id: Uint8Array;
  /** Absent: the whole base. */
  readonly slice?: DeltaSlice;
}

export interface DeltaBlob {
  readonly bases: readonly DeltaBase[];
  /** A view into the bytes decoded. */
  readonly frame: Uint8Array;
}

const baseRecordBytes = idBytes + 4;
const blockCountMax = blobPlainBytesMax / blockBytes;
/** Content that begins with zstd's dictionary magic would else be taken for a trained dictionary (R19). */
const dictionaryStart = new Uint8Array(8);
/** The largest dictionary. */
export const dictionaryBytesMost = dictionaryStart.length + deltaDictionaryBytesMax;

function deltaPrefixBytes(baseCount: number): number {
  return 1 + baseCount * baseRecordBytes;
}

export function encodeDeltaPrefix(bases: readonly DeltaBase[]): Uint8Array {
  assert(bases.length >= 1 && bases.length <= deltaBaseCountMax, "a delta has 1..4 bases");
  const writer = new ByteWriter(deltaPrefixBytes(bases.length)).u8(bases.length);
  for (const { id, slice } of bases) {
    assert(id.length === idBytes, "an id is not 32 bytes");
    assert(slice === undefined || isSlice(slice), "a slice reaches outside any base");
    writer.bytes(id);
    writer.u16(slice?.offsetBlocks ?? 0).u16(slice?.lengthBlocks ?? 0);
  }
  return writer.finish();
}

export function decodeDelta(bytes: Uint8Array): DeltaBlob {
  const reader = new ByteReader(bytes, "delta");
  const count = reader.u8();
  reader.check(count >= 1 && count <= deltaBaseCountMax, "it has a wrong count of bases");
  const bases: DeltaBase[] = [];
  let sliceBlocks = 0;
  for (let index = 0; index < count; index++) {
    const id = reader.bytes(idBytes);
    const slice = { offsetBlocks: reader.u16(), lengthBlocks: reader.u16() };
    const isWhole = slice.offsetBlocks === 0 && slice.lengthBlocks === 0;
    reader.check(isWhole || isSlice(slice), "a slice reaches outside any base");
    // A slice's last block may be a base's short one: it counts as one byte at least.
    sliceBlocks += isWhole ? 0 : slice.lengthBlocks - 1;
    bases.push(isWhole ? { id } : { id, slice });
  }
  reader.check(sliceBlocks * blockBytes <= deltaDictionaryBytesMax, "its slices are too long");
  reader.check(reader.remaining > 0, "it has no frame");
  return { bases, frame: reader.bytes(reader.remaining) };
}

/** The bytes of a base that go into the dictionary: a view.
 * @throws {CorruptionError} when the slice begins behind the base's end */
export function sliceOf(base: DeltaBase, plain: Uint8Array): Uint8Array {
  if (base.slice === undefined) return plain;
  const from = base.slice.offsetBlocks * blockBytes;
  if (from >= plain.length)
    throw new CorruptionError("Cannot apply delta: a slice lies outside its base");
  return plain.subarray(from, from + base.slice.lengthBlocks * blockBytes);
}

/** The zstd dictionary for a delta whose bases' slices (`sliceOf`) these are, in their order.
 * @param room where given, memory for the largest dictionary: the result is a view of it
 * @throws {CorruptionError} when they are larger than 512 KiB together */
export function dictionaryOf(slices: readonly Uint8Array[], room?: Uint8Array): Uint8Array {
  const length = slices.reduce((sum, slice) => sum + slice.length, 0);
  if (length > deltaDictionaryBytesMax) {
    throw new CorruptionError("Cannot apply delta: its bases are larger than 512 KiB together");
  }
  const dictionary = room ?? new Uint8Array(dictionaryStart.length + length);
  dictionary.set(dictionaryStart);
  let at = dictionaryStart.length;
  for (const slice of slices) {
    dictionary.set(slice, at);
    at += slice.length;
  }
  return dictionary.subarray(0, at);
}

function isSlice(slice: DeltaSlice): boolean {
  const { offsetBlocks, lengthBlocks } = slice;
  return lengthBlocks >= 1 && offsetBlocks >= 0 && offsetBlocks + lengthBlocks <= blockCountMax;
}
