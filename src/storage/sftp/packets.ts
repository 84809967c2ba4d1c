/**
 * SFTP version 3 on the wire (draft-ietf-secsh-filexfer-02): u32 length, u8 type, u32 request id, fields.
 * Pure; `session.ts` sends and receives.
 */
import { FailedError } from "../../errors.ts";

export const packetType = {
  init: 1,
  version: 2,
  open: 3,
  close: 4,
  read: 5,
  write: 6,
  fstat: 8,
  opendir: 11,
  readdir: 12,
  remove: 13,
  mkdir: 14,
  stat: 17,
  rename: 18,
  status: 101,
  handle: 102,
  data: 103,
  name: 104,
  attributes: 105,
  extended: 200,
  extendedReply: 201,
} as const;

export const statusCode = {
  ok: 0,
  endOfFile: 1,
  noSuchFile: 2,
  permissionDenied: 3,
  failure: 4,
  unsupported: 8,
} as const;

export const openFlag = { read: 1, write: 2, create: 8, exclusive: 32 } as const;

/** No server sends more: OpenSSH's own bound. */
const packetBytesMax = 256 * 1024;

export interface Attributes {
  readonly size: number;
  readonly isFile: boolean;
  readonly isFolder: boolean;
  /** Seconds since the epoch. */
  readonly modified: number;
}

export interface Entry extends Attributes {
  readonly name: string;
}

/** A number is a u32, a bigint a u64; text and bytes carry their length. */
export type Field = number | bigint | string | Uint8Array;

export function encodePacket(type: number, id: number, fields: readonly Field[]): Buffer {
  let length = 5;
  for (const field of fields) {
    if (typeof field === "number") length += 4;
    else if (typeof field === "bigint") length += 8;
    else length += 4 + (typeof field === "string" ? Buffer.byteLength(field) : field.length);
  }
  const packet = Buffer.allocUnsafe(4 + length);
  packet.writeUInt32BE(length, 0);
  packet[4] = type;
  let at = packet.writeUInt32BE(id, 5);
  for (const field of fields) {
    if (typeof field === "number") at = packet.writeUInt32BE(field, at);
    else if (typeof field === "bigint") at = packet.writeBigUInt64BE(field, at);
    else if (typeof field === "string") {
      at = packet.writeUInt32BE(Buffer.byteLength(field), at);
      at += packet.write(field, at);
    } else {
      at = packet.writeUInt32BE(field.length, at);
      packet.set(field, at);
      at += field.length;
    }
  }
  return packet;
}

/** Cuts what arrives into packets (type and what follows it, without their length). */
export class PacketCutter {
  #header = Buffer.alloc(4);
  #headerBytes = 0;
  #body: Buffer | undefined;
  #bodyBytes = 0;

  /** Packets are views of `chunk` where they lie in it whole. @throws {FailedError} */
  push(chunk: Buffer, take: (packet: Buffer) => void): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#headerBytes < 4) {
        this.#header[this.#headerBytes++] = chunk[at++]!;
        continue;
      }
      const length = this.#header.readUInt32BE(0);
      if (length < 1 || length > packetBytesMax) throw malformed();
      if (this.#body === undefined && chunk.length - at >= length) {
        take(chunk.subarray(at, at + length));
        at += length;
        this.#headerBytes = 0;
        continue;
      }
      this.#body ??= Buffer.allocUnsafeSlow(length);
      const taken = chunk.copy(this.#body, this.#bodyBytes, at, at + length - this.#bodyBytes);
      at += taken;
      this.#bodyBytes += taken;
      if (this.#bodyBytes < length) continue;
      const packet = this.#body;
      this.#body = undefined;
      this.#bodyBytes = 0;
      this.#headerBytes = 0;
      take(packet);
    }
  }
}

/** Reads a packet's fields in turn. @throws {FailedError} when it ends too early */
export class FieldReader {
  readonly #bytes: Buffer;
  #at: number;

  constructor(bytes: Buffer, at: number) {
    this.#bytes = bytes;
    this.#at = at;
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#bytes.length;
  }

  u32(): number {
    return this.#take(4).readUInt32BE(0);
  }

  u64(): number {
    return Number(this.#take(8).readBigUInt64BE(0));
  }

  bytes(): Buffer {
    return this.#take(this.u32());
  }

  text(): string {
    return this.bytes().toString("utf8");
  }

  attributes(): Attributes {
    const flags = this.u32();
    const size = (flags & 1) === 0 ? 0 : this.u64();
    if ((flags & 2) !== 0) this.#take(8); // owner and group
    const mode = (flags & 4) === 0 ? 0 : this.u32();
    const modified = (flags & 8) === 0 ? 0 : (this.u32(), this.u32());
    if ((flags & 0x80000000) !== 0) {
      for (let count = this.u32(); count > 0; count--) {
        this.bytes();
        this.bytes();
      }
    }
    const kind = mode & 0o170000;
    return { size, modified, isFile: kind === 0o100000, isFolder: kind === 0o040000 };
  }

  entries(): Entry[] {
    const entries: Entry[] = [];
    for (let count = this.u32(); count > 0; count--) {
      const name = this.text();
      this.bytes(); // as `ls -l` shows it
      entries.push({ name, ...this.attributes() });
    }
    return entries;
  }

  #take(length: number): Buffer {
    const end = this.#at + length;
    if (end > this.#bytes.length) throw malformed();
    const taken = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return taken;
  }
}

function malformed(): FailedError {
  return new FailedError("The server's answer is no SFTP", {
    hint: "Does a login script of the server print something? Try: sftp USER@HOST",
  });
}
