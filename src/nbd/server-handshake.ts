/** The server's side of the options, until the client has chosen an export or goes. */
import { NbdProtocolError } from "./protocol-bytes.ts";
import {
  handshakeFlag,
  infoType,
  nbdNameBytesMax,
  nbdOption,
  nbdRequestBytesMax,
  optionReply,
  transmissionFlag,
} from "./protocol-constants.ts";
import {
  clientFlagsBytes,
  decodeClientFlags,
  decodeExportRequest,
  decodeMetaContextRequest,
  decodeOptionHeader,
  encodeExportInfo,
  encodeExportNameReply,
  encodeGreeting,
  encodeListedExport,
  encodeMetaContext,
  encodeOptionReply,
  optionHeaderBytes,
} from "./protocol-options.ts";
import type { NbdExport, NbdServerOptions } from "./server-export.ts";
import type { ServerStream } from "./server-stream.ts";

export interface ChosenExport {
  readonly target: NbdExport;
  readonly isStructured: boolean;
  /** Contexts by the id that the client was given. */
  readonly contexts: ReadonlyMap<number, string>;
}

const optionBytesMax = 64 * 1024;
const optionBytesSkipped = 1024 * 1024;
/** Who has not chosen by then is not a client. */
const optionsMost = 1024;
const preferredBytes = 65_536;
const beforeTls: ReadonlySet<number> = new Set([nbdOption.startTls, nbdOption.abort]);

class Handshake {
  isStructured = false;
  meta: { name: string; contexts: Map<number, string> } | undefined;
  withZeroes = true;
  needsTls: boolean;

  constructor({ secure }: NbdServerOptions) {
    this.needsTls = secure !== undefined;
  }
}

/** @returns undefined when the client ended the talk @throws {NbdProtocolError} */
export async function shakeHands(
  stream: ServerStream,
  server: NbdServerOptions,
): Promise<ChosenExport | undefined> {
  const state = new Handshake(server);
  await stream.write([encodeGreeting(handshakeFlag.fixedNewstyle | handshakeFlag.noZeroes)]);
  const flags = decodeClientFlags(await stream.read(clientFlagsBytes));
  if ((flags & ~3) !== 0 || (flags & handshakeFlag.fixedNewstyle) === 0)
    throw new NbdProtocolError(`Cannot serve NBD: client flags ${flags} are unknown`);
  state.withZeroes = (flags & handshakeFlag.noZeroes) === 0;
  for (let count = 0; count < optionsMost; count++) {
    const { option, length } = decodeOptionHeader(await stream.read(optionHeaderBytes));
    const reply = (type: number, data?: Uint8Array): Promise<void> =>
      stream.write([encodeOptionReply(option, type, data)]);
    const refuse = (type: number, why: string): Promise<void> => reply(type, Buffer.from(why));
    if (length > optionBytesMax) {
      if (length > optionBytesSkipped || option === nbdOption.exportName)
        throw new NbdProtocolError("Cannot serve NBD: an option is too long");
      await stream.skip(length);
      await refuse(optionReply.tooBig, "the option is too long");
      continue;
    }
    const data = await stream.read(length);
    if (state.needsTls && !beforeTls.has(option)) {
      if (option === nbdOption.exportName) return undefined;
      await refuse(optionReply.tlsRequired, "this server speaks over TLS only");
      continue;
    }
    try {
      switch (option) {
        case nbdOption.startTls:
          if (!state.needsTls || server.secure === undefined || length > 0) {
            const isOffered = server.secure !== undefined;
            await refuse(isOffered ? optionReply.invalid : optionReply.unsupported, "no TLS here");
            break;
          }
          await reply(optionReply.ack);
          await stream.secure(server.secure);
          state.needsTls = false;
          break;
        case nbdOption.exportName: {
          const target = server.find(nameOf(data));
          if (target === undefined) return undefined; // There is no reply that says so.
          const zeroes = state.withZeroes;
          const size = exportSize(target);
          await stream.write([encodeExportNameReply(size, exportFlags(state), zeroes)]);
          return chosen(state, target);
        }
        case nbdOption.abort:
          await reply(optionReply.ack);
          return undefined;
        case nbdOption.list:
          if (length > 0) {
            await refuse(optionReply.invalid, "LIST takes no data");
            break;
          }
          for (const listed of server.exports)
            await reply(optionReply.server, encodeListedExport(listed));
          await reply(optionReply.ack);
          break;
        case nbdOption.structuredReply:
          if (length > 0) {
            await refuse(optionReply.invalid, "STRUCTURED_REPLY takes no data");
            break;
          }
          state.isStructured = true;
          await reply(optionReply.ack);
          break;
        case nbdOption.listMetaContext:
        case nbdOption.setMetaContext: {
          const isSet = option === nbdOption.setMetaContext;
          if (isSet) state.meta = undefined;
          if (!state.isStructured) {
            await refuse(optionReply.invalid, "structured replies come first");
            break;
          }
          const { name, queries } = decodeMetaContextRequest(data);
          const target = server.find(name);
          if (target === undefined) {
            await refuse(optionReply.unknown, "there is no such export");
            break;
          }
          const contexts = new Map<number, string>();
          target.contexts.forEach((context, id) => {
            const isAsked = isSet ? queries.includes(context) : isListed(context, queries);
            if (isAsked) contexts.set(id, context);
          });
          for (const [id, context] of contexts)
            await reply(optionReply.metaContext, encodeMetaContext({ id, name: context }));
          if (isSet) state.meta = { name: target.name, contexts };
          await reply(optionReply.ack);
          break;
        }
        case nbdOption.info:
        case nbdOption.go: {
          const { name, infos } = decodeExportRequest(data);
          const target = server.find(name);
          if (target === undefined) {
            await refuse(optionReply.unknown, "there is no such export");
            break;
          }
          for (const info of exportInfos(state, target, infos))
            await reply(optionReply.info, encodeExportInfo(info));
          await reply(optionReply.ack);
          if (option === nbdOption.go) return chosen(state, target);
          break;
        }
        default:
          await refuse(optionReply.unsupported, "the option is not known here");
      }
    } catch (error) {
      if (!(error instanceof NbdProtocolError) || option === nbdOption.exportName) throw error;
      await refuse(optionReply.invalid, error.message);
    }
  }
  throw new NbdProtocolError("Cannot serve NBD: too many options");
}

/** QEMU rounds up to whole sectors and reads them: behind the image's end come zeros. */
export function exportSize({ size }: NbdExport): number {
  return Math.ceil(size / 512) * 512;
}

function nameOf(data: Uint8Array): string {
  if (data.length > nbdNameBytesMax)
    throw new NbdProtocolError("Cannot serve NBD: a name is too long");
  return Buffer.from(data).toString("utf8");
}

function isListed(context: string, queries: readonly string[]): boolean {
  if (queries.length === 0) return true;
  return queries.some(
    (query) => context === query || (query.endsWith(":") && context.startsWith(query)),
  );
}

function exportFlags({ isStructured }: Handshake): number {
  const { hasFlags, readOnly, sendFlush, canMultiConn, sendCache, sendDf } = transmissionFlag;
  return hasFlags | readOnly | sendFlush | canMultiConn | sendCache | (isStructured ? sendDf : 0);
}

function exportInfos(
  state: Handshake,
  target: NbdExport,
  infos: readonly number[],
): Parameters<typeof encodeExportInfo>[0][] {
  const all: Parameters<typeof encodeExportInfo>[0][] = [
    { type: "export", size: exportSize(target), flags: exportFlags(state) },
  ];
  if (infos.includes(infoType.name)) all.push({ type: "name", text: target.name });
  if (infos.includes(infoType.description))
    all.push({ type: "description", text: target.description });
  if (infos.includes(infoType.blockSize))
    all.push({
      type: "blockSize",
      minimum: 1,
      preferred: preferredBytes,
      maximum: nbdRequestBytesMax,
    });
  return all;
}

function chosen({ isStructured, meta }: Handshake, target: NbdExport): ChosenExport {
  const contexts = meta?.name === target.name ? meta.contexts : new Map<number, string>();
  return { target, isStructured, contexts };
}
