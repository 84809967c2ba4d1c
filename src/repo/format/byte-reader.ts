/**
 * Reads stored bytes, all of them hostile: every step is checked against what is left, and whatever
 * does not fit is a CorruptionError. Little-endian.
 */
import { CorruptionError } from "../../errors.ts";

export class ByteReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #what: string;
  #at = 0;
  #end: number;

  /** @param what  the object's kind, for messages ("directory node") */
  constructor(bytes: Uint8Array, what: string) {
    // A Buffer's subarrays are Buffers, whose slice() is no copy: callers get plain views.
    this.#bytes = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#what = what;
    this.#end = bytes.length;
  }

  get offset(): number {
    return this.#at;
  }

  get remaining(): number {
    return this.#end - this.#at;
  }

  fail(state: string): never {
    throw new CorruptionError(`Cannot decode ${this.#what}: ${state} at offset ${this.#at}`);
  }

  check(condition: boolean, state: string): void {
    if (!condition) this.fail(state);
  }

  u8(): number {
    return this.#view.getUint8(this.#take(1));
  }

  u16(): number {
    return this.#view.getUint16(this.#take(2), true);
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4), true);
  }

  u64(): bigint {
    return this.#view.getBigUint64(this.#take(8), true);
  }

  i64(): bigint {
    return this.#view.getBigInt64(this.#take(8), true);
  }

  /** LEB128, at most 2^53 - 1, and the shortest form of its value. */
  varint(): number {
    let value = 0;
    for (let unit = 1; ; unit *= 128) {
      const byte = this.u8();
      value += (byte & 0x7f) * unit;
      this.check(Number.isSafeInteger(value), "a number is too large");
      if (byte < 0x80) {
        this.check(byte !== 0 || unit === 1, "a number is longer than it need be");
        return value;
      }
      this.check(unit < 2 ** 49, "a number is too large");
    }
  }

  /** A count of things of at least `leastBytes` each: never more than the bytes that are left can hold. */
  counted(count: number, leastBytes: number): number {
    this.check(count * leastBytes <= this.remaining, "a count is larger than the object");
    return count;
  }

  /** A view of the next `length` bytes, not a copy. */
  bytes(length: number): Uint8Array {
    const at = this.#take(length);
    return this.#bytes.subarray(at, at + length);
  }

  skip(length: number): void {
    this.#take(length);
  }

  /** From here on only these bytes are read; they were measured before. */
  section(start: number, end: number): this {
    this.#at = start;
    this.#end = end;
    return this;
  }

  /** All that is left: a view. */
  rest(): Uint8Array {
    return this.bytes(this.remaining);
  }

  /** A value that takes up all that is left. */
  whole<T>(read: (reader: this) => T): T {
    const value = read(this);
    this.end();
    return value;
  }

  end(): void {
    this.check(this.remaining === 0, "bytes are left over");
  }

  #take(length: number): number {
    this.check(length <= this.remaining, "it ends too early");
    const at = this.#at;
    this.#at += length;
    return at;
  }
}
