/**
 * The talk before the first request: greeting, options and their replies, in fixed newstyle.
 *
 *     server: u64 NBDMAGIC, u64 IHAVEOPT, u16 flags        client: u32 flags
 *     client: u64 IHAVEOPT, u32 option, u32 length, data   one at a time
 *     server: u64 reply magic, u32 option, u32 type, u32 length, data   until an ACK or an error
 */
import { FieldReader, FieldWriter } from "./protocol-bytes.ts";
import { greetingMagic, infoType, optionMagic, optionReplyMagic } from "./protocol-constants.ts";

export const greetingBytes = 18;
export const clientFlagsBytes = 4;
export const optionHeaderBytes = 16;
export const optionReplyHeaderBytes = 20;

export function encodeGreeting(flags: number): Buffer {
  return new FieldWriter().u64(greetingMagic).u64(optionMagic).u16(flags).done();
}

/** @returns the server's handshake flags @throws {NbdProtocolError} for oldstyle servers too */
export function decodeGreeting(bytes: Uint8Array): number {
  const reader = new FieldReader(bytes, "greeting");
  if (reader.u64() !== greetingMagic) throw reader.error("this is no NBD server");
  if (reader.u64() !== optionMagic) throw reader.error("it is of the old style, without options");
  const flags = reader.u16();
  reader.end();
  return flags;
}

export function encodeClientFlags(flags: number): Buffer {
  return new FieldWriter().u32(flags).done();
}

export function decodeClientFlags(bytes: Uint8Array): number {
  const reader = new FieldReader(bytes, "client flags");
  const flags = reader.u32();
  reader.end();
  return flags;
}

export interface OptionHeader {
  readonly option: number;
  /** Of the data that follows. */
  readonly length: number;
}

export function encodeOption(option: number, data: Uint8Array = new Uint8Array()): Buffer {
  return new FieldWriter().u64(optionMagic).u32(option).u32(data.length).raw(data).done();
}

export function decodeOptionHeader(bytes: Uint8Array): OptionHeader {
  const reader = new FieldReader(bytes, "option");
  if (reader.u64() !== optionMagic) throw reader.error("its magic is wrong");
  const header = { option: reader.u32(), length: reader.u32() };
  reader.end();
  return header;
}

export interface OptionReplyHeader {
  readonly option: number;
  readonly type: number;
  readonly length: number;
}

export function encodeOptionReply(
  option: number,
  type: number,
  data: Uint8Array = new Uint8Array(),
): Buffer {
  const writer = new FieldWriter().u64(optionReplyMagic).u32(option).u32(type);
  return writer.u32(data.length).raw(data).done();
}

export function decodeOptionReplyHeader(bytes: Uint8Array): OptionReplyHeader {
  const reader = new FieldReader(bytes, "option reply");
  if (reader.u64() !== optionReplyMagic) throw reader.error("its magic is wrong");
  const header = { option: reader.u32(), type: reader.u32(), length: reader.u32() };
  reader.end();
  return header;
}

/** Data of INFO and GO: which export, and what beside its size is asked for. */
export interface ExportRequest {
  readonly name: string;
  readonly infos: readonly number[];
}

export function encodeExportRequest({ name, infos }: ExportRequest): Buffer {
  const writer = new FieldWriter().text(name).u16(infos.length);
  for (const info of infos) writer.u16(info);
  return writer.done();
}

export function decodeExportRequest(data: Uint8Array): ExportRequest {
  const reader = new FieldReader(data, "request for an export");
  const name = reader.text(reader.u32());
  const count = reader.u16();
  if (count * 2 !== reader.left) throw reader.error("its length is not what its count says");
  return { name, infos: Array.from({ length: count }, () => reader.u16()) };
}

/** Data of an INFO reply; types we do not know are left as they are. */
export type ExportInfo =
  | { readonly type: "export"; readonly size: number; readonly flags: number }
  | { readonly type: "name" | "description"; readonly text: string }
  | {
      readonly type: "blockSize";
      readonly minimum: number;
      readonly preferred: number;
      /** Largest payload of a request. */
      readonly maximum: number;
    }
  | { readonly type: "other"; readonly number: number };

export function encodeExportInfo(info: Exclude<ExportInfo, { type: "other" }>): Buffer {
  const writer = new FieldWriter().u16(infoType[info.type]);
  switch (info.type) {
    case "export":
      return writer.u64(info.size).u16(info.flags).done();
    case "blockSize":
      return writer.u32(info.minimum).u32(info.preferred).u32(info.maximum).done();
    default:
      return writer.raw(Buffer.from(info.text, "utf8")).done();
  }
}

export function decodeExportInfo(data: Uint8Array): ExportInfo {
  const reader = new FieldReader(data, "export's information");
  const number = reader.u16();
  let info: ExportInfo;
  switch (number) {
    case infoType.export:
      info = { type: "export", size: reader.offset(), flags: reader.u16() };
      break;
    case infoType.name:
      return { type: "name", text: reader.text(reader.left) };
    case infoType.description:
      return { type: "description", text: reader.text(reader.left) };
    case infoType.blockSize:
      info = {
        type: "blockSize",
        minimum: reader.u32(),
        preferred: reader.u32(),
        maximum: reader.u32(),
      };
      break;
    default:
      return { type: "other", number };
  }
  reader.end();
  return info;
}

/** After EXPORT_NAME there is no reply: this comes instead, with 124 zeros for clients that want them. */
export function encodeExportNameReply(size: number, flags: number, withZeroes: boolean): Buffer {
  const writer = new FieldWriter().u64(size).u16(flags);
  if (withZeroes) writer.raw(new Uint8Array(124));
  return writer.done();
}

/** Data of a SERVER reply to LIST: a name, and for people what it is. */
export interface ListedExport {
  readonly name: string;
  readonly description: string;
}

export function encodeListedExport({ name, description }: ListedExport): Buffer {
  return new FieldWriter().text(name).raw(Buffer.from(description, "utf8")).done();
}

export function decodeListedExport(data: Uint8Array): ListedExport {
  const reader = new FieldReader(data, "listed export");
  const name = reader.text(reader.u32());
  return { name, description: reader.text(reader.left) };
}

/** Data of LIST_META_CONTEXT and SET_META_CONTEXT. */
export interface MetaContextRequest {
  readonly name: string;
  readonly queries: readonly string[];
}

export function encodeMetaContextRequest({ name, queries }: MetaContextRequest): Buffer {
  const writer = new FieldWriter().text(name).u32(queries.length);
  for (const query of queries) writer.text(query);
  return writer.done();
}

export function decodeMetaContextRequest(data: Uint8Array): MetaContextRequest {
  const reader = new FieldReader(data, "request for metadata");
  const name = reader.text(reader.u32());
  const count = reader.u32();
  if (count * 4 > reader.left) throw reader.error("its length is not what its count says");
  const queries = Array.from({ length: count }, () => reader.text(reader.u32()));
  reader.end();
  return { name, queries };
}

/** Data of a META_CONTEXT reply; ids are the server's choice and mean nothing by themselves. */
export interface MetaContext {
  readonly id: number;
  readonly name: string;
}

export function encodeMetaContext({ id, name }: MetaContext): Buffer {
  return new FieldWriter().u32(id).raw(Buffer.from(name, "utf8")).done();
}

export function decodeMetaContext(data: Uint8Array): MetaContext {
  const reader = new FieldReader(data, "metadata context");
  return { id: reader.u32(), name: reader.text(reader.left) };
}
