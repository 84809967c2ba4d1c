/**
 * Requests and their replies, once an export is chosen.
 *
 *     request       u32 magic, u16 flags, u16 type, u64 cookie, u64 offset, u32 length; WRITE's data follows
 *     simple reply  u32 magic, u32 error, u64 cookie; READ's data follows when there is no error
 *     reply chunk   u32 magic, u16 flags, u16 type, u64 cookie, u32 length, data; the last has flag DONE
 */
import { FieldReader, FieldWriter } from "./protocol-bytes.ts";
import {
  chunkFlagDone,
  chunkType,
  isErrorChunk,
  replyChunkMagic,
  requestMagic,
  simpleReplyMagic,
} from "./protocol-constants.ts";

export const requestHeaderBytes = 28;
export const simpleReplyBytes = 16;
export const chunkHeaderBytes = 20;
/** What comes before the bytes of an OFFSET_DATA chunk. */
export const offsetDataPrefixBytes = 8;

export interface NbdRequest {
  readonly flags: number;
  readonly type: number;
  /** The client's own mark, given back with every reply. */
  readonly cookie: bigint;
  /** Not exact above 2^53, where no export reaches. */
  readonly offset: number;
  readonly length: number;
}

export function encodeRequest({ flags, type, cookie, offset, length }: NbdRequest): Buffer {
  const bytes = Buffer.allocUnsafe(requestHeaderBytes);
  bytes.writeUInt32BE(requestMagic, 0);
  bytes.writeUInt16BE(flags, 4);
  bytes.writeUInt16BE(type, 6);
  bytes.writeBigUInt64BE(cookie, 8);
  bytes.writeBigUInt64BE(BigInt(offset), 16);
  bytes.writeUInt32BE(length, 24);
  return bytes;
}

export function decodeRequest(bytes: Uint8Array): NbdRequest {
  const reader = new FieldReader(bytes, "request");
  if (reader.u32() !== requestMagic) throw reader.error("its magic is wrong");
  const request = {
    flags: reader.u16(),
    type: reader.u16(),
    cookie: reader.u64(),
    offset: Number(reader.u64()),
    length: reader.u32(),
  };
  reader.end();
  return request;
}

export function encodeSimpleReply(cookie: bigint, error: number): Buffer {
  const bytes = Buffer.allocUnsafe(simpleReplyBytes);
  bytes.writeUInt32BE(simpleReplyMagic, 0);
  bytes.writeUInt32BE(error, 4);
  bytes.writeBigUInt64BE(cookie, 8);
  return bytes;
}

/** What a reply begins with, told apart by its magic: read 16 bytes, for a chunk 4 more. */
export type ReplyHeader =
  | { readonly kind: "simple"; readonly cookie: bigint; readonly error: number }
  | {
      readonly kind: "chunk";
      readonly cookie: bigint;
      readonly type: number;
      readonly isDone: boolean;
      /** Of the data that follows. */
      readonly length: number;
    };

/** @param magic  the first 4 bytes of a reply @returns how long its header is */
export function replyHeaderBytes(magic: Uint8Array): number {
  const reader = new FieldReader(magic, "reply");
  const value = reader.u32();
  if (value === simpleReplyMagic) return simpleReplyBytes;
  if (value === replyChunkMagic) return chunkHeaderBytes;
  throw reader.error("its magic is wrong");
}

export function decodeReplyHeader(bytes: Uint8Array): ReplyHeader {
  const reader = new FieldReader(bytes, "reply");
  const magic = reader.u32();
  let header: ReplyHeader;
  if (magic === simpleReplyMagic) {
    header = { kind: "simple", error: reader.u32(), cookie: reader.u64() };
  } else {
    if (magic !== replyChunkMagic) throw reader.error("its magic is wrong");
    const flags = reader.u16();
    header = {
      kind: "chunk",
      isDone: (flags & chunkFlagDone) !== 0,
      type: reader.u16(),
      cookie: reader.u64(),
      length: reader.u32(),
    };
  }
  reader.end();
  return header;
}

/** The header of a chunk whose `length` bytes of data the caller sends after it. */
export function encodeChunkHeader(
  cookie: bigint,
  type: number,
  isDone: boolean,
  length: number,
): Buffer {
  const bytes = Buffer.allocUnsafe(chunkHeaderBytes);
  bytes.writeUInt32BE(replyChunkMagic, 0);
  bytes.writeUInt16BE(isDone ? chunkFlagDone : 0, 4);
  bytes.writeUInt16BE(type, 6);
  bytes.writeBigUInt64BE(cookie, 8);
  bytes.writeUInt32BE(length, 16);
  return bytes;
}

export interface StatusExtent {
  readonly length: number;
  readonly flags: number;
}

/** Data of a chunk, by its type. `bytes` is a view of what was decoded. */
export type ReplyChunk =
  | { readonly type: "none" }
  | { readonly type: "data"; readonly offset: number; readonly bytes: Uint8Array }
  | { readonly type: "hole"; readonly offset: number; readonly length: number }
  | { readonly type: "status"; readonly context: number; readonly extents: readonly StatusExtent[] }
  | {
      readonly type: "error";
      readonly error: number;
      readonly message: string;
      /** The first byte that failed, where the server says so. */
      readonly offset?: number;
    };

/** All but data, which goes out without being copied: `encodeChunkHeader`, u64 offset, bytes. */
export function encodeChunk(
  cookie: bigint,
  chunk: Exclude<ReplyChunk, { type: "data" }>,
  isDone: boolean,
): Buffer {
  const writer = new FieldWriter();
  let type: number;
  switch (chunk.type) {
    case "none":
      type = chunkType.none;
      break;
    case "hole":
      type = chunkType.offsetHole;
      writer.u64(chunk.offset).u32(chunk.length);
      break;
    case "status": {
      type = chunkType.blockStatus;
      const bytes = Buffer.allocUnsafe(4 + 8 * chunk.extents.length);
      bytes.writeUInt32BE(chunk.context, 0);
      chunk.extents.forEach(({ length, flags }, row) => {
        bytes.writeUInt32BE(length, 4 + 8 * row);
        bytes.writeUInt32BE(flags, 8 + 8 * row);
      });
      writer.raw(bytes);
      break;
    }
    case "error": {
      const message = Buffer.from(chunk.message, "utf8").subarray(0, 4096);
      type = chunk.offset === undefined ? chunkType.error : chunkType.errorOffset;
      writer.u32(chunk.error).u16(message.length).raw(message);
      if (chunk.offset !== undefined) writer.u64(chunk.offset);
    }
  }
  const data = writer.done();
  return Buffer.concat([encodeChunkHeader(cookie, type, isDone, data.length), data]);
}

/** The header and offset of an OFFSET_DATA chunk; its `length` bytes of content follow. */
export function encodeDataChunkPrefix(
  cookie: bigint,
  offset: number,
  length: number,
  isDone: boolean,
): Buffer {
  const header = encodeChunkHeader(
    cookie,
    chunkType.offsetData,
    isDone,
    offsetDataPrefixBytes + length,
  );
  return Buffer.concat([header, new FieldWriter().u64(offset).done()]);
}

/** @throws {NbdProtocolError} for a type that is neither known nor an error: what it means cannot be guessed */
export function decodeChunk(type: number, data: Uint8Array): ReplyChunk {
  const reader = new FieldReader(data, "reply chunk");
  switch (type) {
    case chunkType.none:
      reader.end();
      return { type: "none" };
    case chunkType.offsetData: {
      const offset = reader.offset();
      if (reader.left === 0) throw reader.error("it has no data");
      return { type: "data", offset, bytes: reader.bytes(reader.left) };
    }
    case chunkType.offsetHole: {
      const hole = { type: "hole", offset: reader.offset(), length: reader.u32() } as const;
      reader.end();
      if (hole.length === 0) throw reader.error("its hole is empty");
      return hole;
    }
    case chunkType.blockStatus: {
      const context = reader.u32();
      if (reader.left === 0 || reader.left % 8 !== 0) throw reader.error("its length is wrong");
      const count = reader.left / 8;
      const extents = Array.from({ length: count }, () => ({
        length: reader.u32(),
        flags: reader.u32(),
      }));
      if (extents.some((extent) => extent.length === 0)) throw reader.error("an extent is empty");
      return { type: "status", context, extents };
    }
  }
  if (!isErrorChunk(type)) throw reader.error(`its type ${type} is unknown`);
  const error = reader.u32();
  if (error === 0) throw reader.error("an error is said to be none");
  const message = Buffer.from(reader.bytes(reader.u16())).toString("utf8");
  if (type === chunkType.errorOffset) {
    const offset = reader.offset();
    reader.end();
    return { type: "error", error, message, offset };
  }
  // Error types to come say more after the message, which who does not know them may pass over.
  if (type === chunkType.error) reader.end();
  return { type: "error", error, message };
}
