/**
 * Tagged fields (u8 tag ‖ varint length ‖ value, tags ascending): what an old reader does not know it
 * may pass over from tag 128 on, and must refuse below. Numbers that are 0 and texts that are empty
 * are left out, so that each entry has one form only.
 */
import { UnsupportedFormatError } from "../../errors.ts";
import { nameFromBytes, nameToBytes } from "../../names.ts";
import { ByteReader } from "./byte-reader.ts";
import { ByteWriter } from "./byte-writer.ts";

const knownTagMax = 21;
const ignorableTagMin = 128;
/** Of those that may be passed over, the one that is known here; kept behind the others. */
const diskTag = 128;
const slotCount = knownTagMax + 2;

function slotOf(tag: number): number | undefined {
  if (tag <= knownTagMax) return tag;
  return tag === diskTag ? knownTagMax + 1 : undefined;
}

/** Writes fields into memory that serves one entry after another. */
export class FieldWriter {
  readonly #writer = new ByteWriter(1024);

  /** Begins the next entry. */
  reset(): void {
    this.#writer.reset();
  }

  put(tag: number, value: Uint8Array): void {
    this.#writer.u8(tag).varint(value.length).bytes(value);
  }

  u16(tag: number, value: number): void {
    if (value !== 0) this.#writer.u8(tag).u8(2).u16(value);
  }

  varint(tag: number, value: number): void {
    if (value !== 0) this.#writer.u8(tag).u8(varintBytes(value)).varint(value);
  }

  i64(tag: number, value: bigint): void {
    if (value !== 0n) this.#writer.u8(tag).u8(8).i64(value);
  }

  u64(tag: number, value: bigint): void {
    if (value !== 0n) this.#writer.u8(tag).u8(8).u64(value);
  }

  text(tag: number, value: string): void {
    if (value !== "") this.put(tag, nameToBytes(value));
  }

  /** The entry's record: its length, then its fields. */
  record(): Uint8Array {
    const fields = this.#writer.finish();
    return new ByteWriter(fields.length + 4).varint(fields.length).bytes(fields).finish();
  }
}

function varintBytes(value: number): number {
  let count = 1;
  for (let rest = value; rest >= 128; rest /= 128) count++;
  return count;
}

/**
 * Reads the fields of one entry after another. What `find` and `need` return is one reader, moved:
 * it is read before the next call.
 */
export class FieldReader {
  readonly #values: ByteReader;
  readonly #starts = new Uint32Array(slotCount);
  /** 0 where the entry has no such field. */
  readonly #ends = new Uint32Array(slotCount);

  /** @param node  the bytes that `load`'s reader reads */
  constructor(node: Uint8Array) {
    this.#values = new ByteReader(node, "directory entry");
  }

  /** Takes the next entry from `reader`. */
  load(reader: ByteReader): void {
    const length = reader.varint();
    reader.check(length <= reader.remaining, "an entry is longer than the node");
    const end = reader.offset + length;
    this.#ends.fill(0);
    for (let before = 0; reader.offset < end;) {
      const tag = reader.u8();
      reader.check(tag > before, "an entry's fields are not sorted");
      if (tag > knownTagMax && tag < ignorableTagMin) refuseTag(tag);
      const fieldLength = reader.varint();
      const start = reader.offset;
      reader.skip(fieldLength);
      const slot = slotOf(tag);
      if (slot !== undefined) {
        this.#starts[slot] = start;
        this.#ends[slot] = reader.offset;
      }
      before = tag;
    }
    reader.check(reader.offset === end, "a field is longer than its entry");
  }

  fail(state: string): never {
    this.#values.fail(state);
  }

  find(tag: number): ByteReader | undefined {
    const slot = slotOf(tag)!;
    const end = this.#ends[slot]!;
    return end === 0 ? undefined : this.#values.section(this.#starts[slot]!, end);
  }

  need(tag: number): ByteReader {
    return this.find(tag) ?? this.fail(`field ${tag} is missing`);
  }

  number(tag: number, read: (value: ByteReader) => number): number {
    const value = this.find(tag)?.whole(read);
    if (value === 0) this.fail(`field ${tag} is 0`);
    return value ?? 0;
  }

  big(tag: number, read: (value: ByteReader) => bigint): bigint {
    const value = this.find(tag)?.whole(read);
    if (value === 0n) this.fail(`field ${tag} is 0`);
    return value ?? 0n;
  }

  text(tag: number): string {
    const value = this.find(tag)?.rest();
    if (value?.length === 0) this.fail(`field ${tag} is empty`);
    return value === undefined ? "" : nameFromBytes(value);
  }
}

function refuseTag(tag: number): never {
  throw new UnsupportedFormatError(`Cannot read directory entry: field ${tag} is not known`, {
    hint: "Use a newer ashlar",
  });
}
