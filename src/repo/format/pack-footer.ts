/**
 * A pack's footer: what lies in it, so that an index can be rebuilt from packs alone.
 *
 *   u8 class (0 data, 1 tree) ‖ u32 blob count ‖ per blob, in ordinal order:
 *     id 32 ‖ u32 sealed length ‖ u32 plain length ‖ u8 form ‖ u8 depth ‖ u8 base count ‖ base ids 32 each
 *
 * The first blob begins at 126; each begins where the one before ends.
 */
import { assert } from "../../errors.ts";
import { concatBytes } from "../../bytes.ts";
import {
  classCode,
  classOfCode,
  entryFault,
  type BlobClass,
  type BlobFacts,
  type BlobForm,
} from "./blob-form.ts";
import { ByteReader } from "./byte-reader.ts";
import { ByteWriter } from "./byte-writer.ts";
import type { IndexedPack } from "./index-object.ts";
import { idBytes, packBlobCountMax, packBytesMax, packHeaderBytes } from "./limits.ts";

export interface PackEntry extends BlobFacts {
  readonly id: Uint8Array;
  readonly bases: readonly { readonly id: Uint8Array }[];
}

export interface PackFooter {
  readonly cls: BlobClass;
  readonly entries: readonly PackEntry[];
}

const entryBytesMin = idBytes + 11;

/** The footer's length before it is sealed. */
export function packFooterBytes(blobCount: number, baseCount: number): number {
  return 5 + blobCount * entryBytesMin + baseCount * idBytes;
}

export function encodePackFooter({ cls, entries }: PackFooter): Uint8Array {
  assert(entries.length <= packBlobCountMax, "a pack has too many blobs");
  const writer = new ByteWriter(5 + entries.length * (entryBytesMin + idBytes));
  writer.u8(classCode(cls)).u32(entries.length);
  for (const entry of entries) {
    const wrong = entryFault(entry, entry.bases.length);
    assert(wrong === undefined, `a pack's entry ${wrong}`);
    assert(entry.id.length === idBytes, "an id is not 32 bytes");
    writer.bytes(entry.id).u32(entry.sealedLength).u32(entry.plainLength);
    writer.u8(entry.form).u8(entry.depth).u8(entry.bases.length);
    for (const base of entry.bases) writer.bytes(base.id);
  }
  return writer.finish();
}

export function decodePackFooter(bytes: Uint8Array): PackFooter {
  const reader: ByteReader = new ByteReader(bytes, "pack footer");
  const cls = classOfCode(reader.u8());
  if (cls === undefined) reader.fail("its class is not known");
  const count = reader.counted(reader.u32(), entryBytesMin);
  reader.check(count <= packBlobCountMax, "it has too many blobs");
  const entries: PackEntry[] = [];
  let end = packHeaderBytes;
  for (let ordinal = 0; ordinal < count; ordinal++) {
    const entry = readEntry(reader);
    end += entry.sealedLength;
    entries.push(entry);
  }
  reader.check(end <= packBytesMax, "its blobs are larger than a pack");
  reader.end();
  return { cls, entries };
}

function readEntry(reader: ByteReader): PackEntry {
  const id = reader.bytes(idBytes);
  const sealedLength = reader.u32();
  const plainLength = reader.u32();
  const form = reader.u8() as BlobForm;
  const depth = reader.u8();
  const baseCount = reader.counted(reader.u8(), idBytes);
  const entry = { id, sealedLength, plainLength, form, depth };
  const wrong = entryFault(entry, baseCount);
  if (wrong !== undefined) reader.fail(`an entry ${wrong}`);
  return {
    ...entry,
    bases: Array.from({ length: baseCount }, () => ({ id: reader.bytes(idBytes) })),
  };
}

/** The same facts in the index's shape, as when an index is rebuilt from packs. */
export function indexedPackOf(name: Uint8Array, size: number, footer: PackFooter): IndexedPack {
  const { entries } = footer;
  return {
    name,
    size,
    cls: footer.cls,
    count: entries.length,
    ids: concatBytes(entries.map((entry) => entry.id)),
    sealedLengths: Uint32Array.from(entries, (entry) => entry.sealedLength),
    plainLengths: Uint32Array.from(entries, (entry) => entry.plainLength),
    forms: Uint8Array.from(entries, (entry) => entry.form),
    depths: Uint8Array.from(entries, (entry) => entry.depth),
    bases: entries.flatMap((entry, ordinal) =>
      entry.bases.map((base) => ({ ordinal, prefix: base.id.slice(0, 8) })),
    ),
  };
}
