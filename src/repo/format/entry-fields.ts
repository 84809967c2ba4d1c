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

export class FieldWriter {
  readonly #writer = new ByteWriter(512);

  put(tag: number, value: Uint8Array): void {
    this.#writer.u8(tag).varint(value.length).bytes(value);
  }

  number(tag: number, value: number, write: (writer: ByteWriter, value: number) => unknown): void {
    if (value === 0) return;
    const writer = new ByteWriter(10);
    write(writer, value);
    this.put(tag, writer.finish());
  }

  varint(tag: number, value: number): void {
    this.number(tag, value, (writer, number) => writer.varint(number));
  }

  big(tag: number, value: bigint, isSigned: boolean): void {
    if (value === 0n) return;
    const writer = new ByteWriter(8);
    this.put(tag, (isSigned ? writer.i64(value) : writer.u64(value)).finish());
  }

  text(tag: number, value: string): void {
    if (value !== "") this.put(tag, nameToBytes(value));
  }

  finish(): Uint8Array {
    return this.#writer.finish();
  }
}

export class FieldReader {
  readonly #reader: ByteReader;
  readonly #fields = new Map<number, ByteReader>();

  constructor(reader: ByteReader) {
    this.#reader = reader;
    for (let before = 0; reader.remaining > 0;) {
      const tag = reader.u8();
      reader.check(tag > before, "its fields are not sorted");
      if (tag > knownTagMax && tag < ignorableTagMin) refuseTag(tag);
      this.#fields.set(tag, new ByteReader(reader.bytes(reader.varint()), `field ${tag}`));
      before = tag;
    }
  }

  fail(state: string): never {
    this.#reader.fail(state);
  }

  find(tag: number): ByteReader | undefined {
    return this.#fields.get(tag);
  }

  need(tag: number): ByteReader {
    return this.#fields.get(tag) ?? this.fail(`field ${tag} is missing`);
  }

  number(tag: number, read: (value: ByteReader) => number): number {
    const value = this.find(tag)?.whole(read);
    if (value === 0) this.fail(`field ${tag} is 0`);
    return value ?? 0;
  }

  big(tag: number, isSigned: boolean): bigint {
    const value = this.find(tag)?.whole((field) => (isSigned ? field.i64() : field.u64()));
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
