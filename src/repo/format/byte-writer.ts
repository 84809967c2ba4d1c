/** Builds an object's bytes in one growing buffer. Little-endian; numbers that do not fit are our bug. */
import { assert } from "../../errors.ts";

export class ByteWriter {
  #bytes: Uint8Array;
  #view: DataView;
  #length = 0;

  /** @param capacity  bytes reserved at the start; more are found when needed */
  constructor(capacity = 256) {
    this.#bytes = new Uint8Array(capacity);
    this.#view = new DataView(this.#bytes.buffer);
  }

  get length(): number {
    return this.#length;
  }

  u8(value: number): this {
    const at = this.#grow(1, value, 0xff);
    this.#view.setUint8(at, value);
    return this;
  }

  u16(value: number): this {
    const at = this.#grow(2, value, 0xffff);
    this.#view.setUint16(at, value, true);
    return this;
  }

  u32(value: number): this {
    const at = this.#grow(4, value, 0xffff_ffff);
    this.#view.setUint32(at, value, true);
    return this;
  }

  u64(value: bigint): this {
    assert(BigInt.asUintN(64, value) === value, "a number does not fit 64 bits");
    const at = this.#grow(8);
    this.#view.setBigUint64(at, value, true);
    return this;
  }

  i64(value: bigint): this {
    assert(BigInt.asIntN(64, value) === value, "a number does not fit 64 signed bits");
    const at = this.#grow(8);
    this.#view.setBigInt64(at, value, true);
    return this;
  }

  /** LEB128. */
  varint(value: number): this {
    assert(Number.isSafeInteger(value) && value >= 0, "a number is not a safe integer");
    let rest = value;
    for (; rest >= 128; rest = Math.floor(rest / 128)) this.u8((rest % 128) + 128);
    return this.u8(rest);
  }

  bytes(bytes: Uint8Array): this {
    const at = this.#grow(bytes.length);
    this.#bytes.set(bytes, at);
    return this;
  }

  /** The bytes written, in memory of their own. */
  finish(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }

  /** Forgets what was written and keeps the memory. */
  reset(): this {
    this.#length = 0;
    return this;
  }

  /** Reserves bytes; `#bytes` and `#view` may be others afterwards, so it stands on a line of its own. */
  #grow(length: number, value = 0, max = 0): number {
    assert(
      Number.isInteger(value) && value >= 0 && value <= max,
      "a number does not fit its field",
    );
    const at = this.#length;
    this.#length += length;
    if (this.#length > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(this.#length, this.#bytes.length * 2));
      larger.set(this.#bytes);
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    return at;
  }
}
