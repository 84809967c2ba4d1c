/**
 * An index object: facts about packs, which never change. Merging two is putting their packs
 * together; docs/decisions/0001-index-by-pack.md has the reasons.
 *
 *   u32 replaced count ‖ names of the index objects this one replaces, 32 each, sorted
 *   16 session uuid, zeros when merged
 *   u32 pack count ‖ per pack, sorted by name:
 *     name 32 ‖ u32 stored size ‖ u8 class ‖ u32 blob count ‖ u32 base count
 *     then, column by column, blobs in ordinal order:
 *       ids 32 each ‖ sealed lengths u24 ‖ plain lengths u24 ‖ facts u8 (bits 0-1 form, 2-5 depth, 6-7 zero)
 *     bases, sorted by ordinal, a blob's in its own order: u16 ordinal ‖ first 8 bytes of the base's id
 *
 * 39 bytes a blob, 10 a base, 45 a pack. Columns let a reader take the ids as they lie.
 */
import { assert } from "../../errors.ts";
import { fromHex, toHex } from "../../bytes.ts";
import { classCode, classOfCode, entryFault, type BlobClass, type BlobForm } from "./blob-form.ts";
import { ByteReader } from "./byte-reader.ts";
import { ByteWriter } from "./byte-writer.ts";
import {
  idBytes,
  indexObjectBytesMax,
  packBlobCountMax,
  packBytesMax,
  packHeaderBytes,
} from "./limits.ts";

export interface IndexedBase {
  readonly ordinal: number;
  /** The first 8 bytes of the base's id: every blob with that prefix counts as needed (R21). */
  readonly prefix: Uint8Array;
}

/** One pack's blobs, in ordinal order; columns, not an object a blob. */
export interface IndexedPack {
  readonly name: Uint8Array;
  /** Stored bytes. */
  readonly size: number;
  readonly cls: BlobClass;
  readonly count: number;
  readonly ids: Uint8Array;
  readonly sealedLengths: Uint32Array;
  readonly plainLengths: Uint32Array;
  readonly forms: Uint8Array;
  readonly depths: Uint8Array;
  /** Sorted by ordinal, a blob's bases in their own order. */
  readonly bases: readonly IndexedBase[];
}

export interface IndexObject {
  readonly replaces: readonly string[];
  /** The session that stored the packs; undefined when merged. */
  readonly session: Uint8Array | undefined;
  readonly packs: readonly IndexedPack[];
}

const packRecordBytes = idBytes + 13;
const blobRecordBytes = 39;
const baseRecordBytes = 10;
const prefixBytes = 8;
const sessionBytes = 16;

/** What a pack adds to an index object's bytes. */
export function indexedPackBytes(pack: Pick<IndexedPack, "count" | "bases">): number {
  return packRecordBytes + pack.count * blobRecordBytes + pack.bases.length * baseRecordBytes;
}

/** @param index  packs in any order; they are written sorted */
export function encodeIndexObject(index: IndexObject): Uint8Array {
  const packs = [...index.packs].sort((a, b) => Buffer.compare(a.name, b.name));
  const replaces = [...index.replaces].sort();
  const length = packs.reduce(
    (sum, pack) => sum + indexedPackBytes(pack),
    24 + replaces.length * idBytes,
  );
  assert(length <= indexObjectBytesMax, "an index object is larger than 16 MiB");
  const writer = new ByteWriter(length).u32(replaces.length);
  for (const name of replaces) writer.bytes(checkedName(fromHex(name)));
  const session = index.session ?? new Uint8Array(sessionBytes);
  assert(session.length === sessionBytes, "a session id is not 16 bytes");
  writer.bytes(session).u32(packs.length);
  for (const [n, pack] of packs.entries()) {
    assert(n === 0 || Buffer.compare(packs[n - 1]!.name, pack.name) < 0, "a pack is named twice");
    writePack(writer, pack);
  }
  return writer.finish();
}

function checkedName(name: Uint8Array): Uint8Array {
  assert(name.length === idBytes, "a name is not 32 bytes");
  return name;
}

function writePack(writer: ByteWriter, pack: IndexedPack): void {
  const fault = packFault(pack);
  assert(fault === undefined, `an indexed pack ${fault}`);
  assert(pack.ids.length === pack.count * idBytes, "a pack's ids are not 32 bytes each");
  writer.bytes(checkedName(pack.name)).u32(pack.size).u8(classCode(pack.cls));
  writer.u32(pack.count).u32(pack.bases.length).bytes(pack.ids);
  writer.bytes(toU24(pack.sealedLengths)).bytes(toU24(pack.plainLengths));
  writer.bytes(pack.forms.map((form, ordinal) => form + pack.depths[ordinal]! * 4));
  for (const { ordinal, prefix } of pack.bases) {
    assert(prefix.length === prefixBytes, "a base's prefix is not 8 bytes");
    writer.u16(ordinal).bytes(prefix);
  }
}

/** The result holds views into `body`. */
export function decodeIndexObject(body: Uint8Array): IndexObject {
  const reader = new ByteReader(body, "index object");
  reader.check(body.length <= indexObjectBytesMax, "it is larger than 16 MiB");
  const replaces = readReplaced(reader);
  const session = reader.bytes(sessionBytes);
  const packCount = reader.counted(reader.u32(), packRecordBytes);
  const packs: IndexedPack[] = [];
  for (let n = 0; n < packCount; n++) {
    const pack = readPack(reader);
    const isSorted = n === 0 || Buffer.compare(packs[n - 1]!.name, pack.name) < 0;
    reader.check(isSorted, "its packs are not sorted");
    packs.push(pack);
  }
  reader.end();
  return { replaces, session: session.some((byte) => byte !== 0) ? session : undefined, packs };
}

function readReplaced(reader: ByteReader): string[] {
  const count = reader.counted(reader.u32(), idBytes);
  const names: string[] = [];
  for (let n = 0; n < count; n++) {
    const name = toHex(reader.bytes(idBytes));
    reader.check(n === 0 || names[n - 1]! < name, "the names it replaces are not sorted");
    names.push(name);
  }
  return names;
}

function readPack(reader: ByteReader): IndexedPack {
  const name = reader.bytes(idBytes);
  const size = reader.u32();
  const cls = classOfCode(reader.u8());
  if (cls === undefined) reader.fail("a pack's class is not known");
  const count = reader.u32();
  const baseCount = reader.u32();
  reader.check(count <= packBlobCountMax, "a pack has too many blobs");
  reader.counted(count, blobRecordBytes);
  const ids = reader.bytes(count * idBytes);
  const sealedLengths = fromU24(reader.bytes(count * 3));
  const plainLengths = fromU24(reader.bytes(count * 3));
  const facts = reader.bytes(count);
  reader.check(
    facts.every((fact) => fact < 64),
    "a blob has facts that are not known",
  );
  const forms = facts.map((fact) => fact & 3);
  const depths = facts.map((fact) => fact >> 2);
  reader.counted(baseCount, baseRecordBytes);
  const bases = Array.from({ length: baseCount }, () => ({
    ordinal: reader.u16(),
    prefix: reader.bytes(prefixBytes),
  }));
  const pack = { name, size, cls, count, ids, sealedLengths, plainLengths, forms, depths, bases };
  const fault = packFault(pack);
  if (fault !== undefined) reader.fail(`a pack ${fault}`);
  return pack;
}

function packFault(pack: Omit<IndexedPack, "name" | "cls" | "ids">): string | undefined {
  const { count, sealedLengths, plainLengths, forms, depths, bases } = pack;
  if (count > packBlobCountMax || pack.size > packBytesMax) return "is too large";
  const columns = [sealedLengths, plainLengths, forms, depths];
  if (columns.some((column) => column.length !== count)) return "has columns of other lengths";
  let end = packHeaderBytes;
  let base = 0;
  for (let ordinal = 0; ordinal < count; ordinal++) {
    const firstBase = base;
    while (base < bases.length && bases[base]!.ordinal === ordinal) base++;
    const sealedLength = sealedLengths[ordinal]!;
    const entry = {
      sealedLength,
      plainLength: plainLengths[ordinal]!,
      form: forms[ordinal] as BlobForm,
      depth: depths[ordinal]!,
    };
    const fault = entryFault(entry, base - firstBase);
    if (fault !== undefined) return `has a blob that ${fault}`;
    end += sealedLength;
  }
  if (base !== bases.length) return "has bases of no blob, or out of order";
  return end > pack.size ? "is smaller than its blobs" : undefined;
}

function toU24(values: Uint32Array): Uint8Array {
  const bytes = new Uint8Array(values.length * 3);
  for (let n = 0; n < values.length; n++) {
    const value = values[n]!;
    assert(value < 2 ** 24, "a blob's length does not fit 24 bits");
    bytes[n * 3] = value;
    bytes[n * 3 + 1] = value >>> 8;
    bytes[n * 3 + 2] = value >>> 16;
  }
  return bytes;
}

function fromU24(bytes: Uint8Array): Uint32Array {
  const values = new Uint32Array(bytes.length / 3);
  for (let n = 0; n < values.length; n++) {
    values[n] = bytes[n * 3]! | (bytes[n * 3 + 1]! << 8) | (bytes[n * 3 + 2]! << 16);
  }
  return values;
}
