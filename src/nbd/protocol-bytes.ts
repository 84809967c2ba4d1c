/** Big-endian fields of NBD messages, read with every length checked. */
import { FailedError } from "../errors.ts";

/** The other side sent what the protocol does not allow, or more than we take. */
export class NbdProtocolError extends FailedError {}

/** Reads the fields of one message; `end` makes sure that nothing is left over. */
export class FieldReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #what: string;
  #at = 0;

  /** @param what  names the message in errors */
  constructor(bytes: Uint8Array, what: string) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    this.#what = what;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  u16(): number {
    return this.#view.getUint16(this.#advance(2));
  }

  u32(): number {
    return this.#view.getUint32(this.#advance(4));
  }

  u64(): bigint {
    return this.#view.getBigUint64(this.#advance(8));
  }

  /** A size or offset: one of more than 2^53 is an error. */
  offset(): number {
    const value = this.u64();
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw this.error(`offset ${value} is too large`);
    return Number(value);
  }

  bytes(length: number): Uint8Array {
    const at = this.#advance(length);
    return this.#bytes.subarray(at, at + length);
  }

  text(length: number): string {
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(this.bytes(length));
    } catch (error) {
      if (error instanceof NbdProtocolError) throw error;
      throw this.error("a text is not UTF-8");
    }
  }

  end(): void {
    if (this.left > 0) throw this.error(`${this.left} bytes too many`);
  }

  error(why: string): NbdProtocolError {
    return new NbdProtocolError(`Cannot read NBD ${this.#what}: ${why}`);
  }

  #advance(length: number): number {
    if (length > this.left) throw this.error("it is too short");
    const at = this.#at;
    this.#at += length;
    return at;
  }
}

/** Builds one message. Texts and lengths are ours, so they fit. */
export class FieldWriter {
  readonly #parts: Buffer[] = [];

  u16(value: number): this {
    const part = Buffer.allocUnsafe(2);
    part.writeUInt16BE(value);
    return this.raw(part);
  }

  u32(value: number): this {
    const part = Buffer.allocUnsafe(4);
    part.writeUInt32BE(value);
    return this.raw(part);
  }

  u64(value: bigint | number): this {
    const part = Buffer.allocUnsafe(8);
    part.writeBigUInt64BE(BigInt(value));
    return this.raw(part);
  }

  /** With its length before it. */
  text(value: string): this {
    const part = Buffer.from(value, "utf8");
    return this.u32(part.length).raw(part);
  }

  raw(part: Uint8Array): this {
    this.#parts.push(Buffer.from(part.buffer, part.byteOffset, part.byteLength));
    return this;
  }

  done(): Buffer {
    return Buffer.concat(this.#parts);
  }
}
