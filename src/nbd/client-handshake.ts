/** From a connected socket to an export that answers requests: greeting, TLS, options, GO. */
import type { Socket } from "node:net";
import { FailedError } from "../errors.ts";
import type { NbdAddress } from "./client-address.ts";
import { SocketBytes } from "./client-bytes.ts";
import { startTls } from "./client-tls.ts";
import {
  handshakeFlag,
  infoType,
  isErrorReply,
  nbdOption,
  nbdRequestBytesMax,
  optionReply,
} from "./protocol-constants.ts";
import {
  decodeExportInfo,
  decodeGreeting,
  decodeListedExport,
  decodeMetaContext,
  decodeOptionReplyHeader,
  encodeClientFlags,
  encodeExportRequest,
  encodeMetaContextRequest,
  encodeOption,
  greetingBytes,
  optionReplyHeaderBytes,
} from "./protocol-options.ts";

export interface NbdExport {
  readonly size: number;
  /** `transmissionFlag` of the protocol. */
  readonly flags: number;
  /** Requests must be multiples of it. */
  readonly blockBytesMin: number;
  readonly requestBytesMax: number;
  readonly isStructured: boolean;
  /** Those that were asked for and are there: by the server's number, their names. */
  readonly contexts: ReadonlyMap<number, string>;
}

export interface Negotiated {
  readonly socket: Socket;
  readonly bytes: SocketBytes;
  readonly export: NbdExport;
}

/** An option's answer is small; a list of exports may come in many. */
const replyBytesMax = 1 << 16;
const repliesMax = 10_000;
const exportsShown = 8;
/** An offset and a number: larger blocks than this no disk has. */
const blockBytesMax = 1 << 16;

interface OptionReplies {
  readonly end: number;
  readonly text: string;
  readonly replies: readonly { readonly type: number; readonly data: Buffer }[];
}

/** @param onSocket  is told of the stream that takes the socket's place, for errors and the end */
export async function negotiate(
  raw: Socket,
  address: NbdAddress,
  contexts: readonly string[],
  onSocket: (bytes: SocketBytes, socket: Socket) => void,
): Promise<Negotiated> {
  let socket = raw;
  let bytes = new SocketBytes(socket);
  onSocket(bytes, socket);
  const flags = decodeGreeting(await bytes.read(greetingBytes));
  if ((flags & handshakeFlag.fixedNewstyle) === 0)
    throw new FailedError("it speaks a form of NBD that is out of use (not fixed newstyle)");
  const echoed = flags & (handshakeFlag.fixedNewstyle | handshakeFlag.noZeroes);
  socket.write(encodeClientFlags(echoed));
  if (address.tls !== undefined) {
    const answer = await option(socket, bytes, nbdOption.startTls);
    if (answer.end !== optionReply.ack)
      throw new FailedError("it does not offer TLS, and nbds:// asks for it");
    // Bytes in the clear after this would be taken for the server's own: somebody put them there.
    if (bytes.release()) throw new FailedError("bytes came between STARTTLS and TLS");
    socket = await startTls(raw, address.place, address.tls);
    bytes = new SocketBytes(socket);
    onSocket(bytes, socket);
  }
  const structured = await option(socket, bytes, nbdOption.structuredReply);
  if (structured.end === optionReply.tlsRequired)
    throw new FailedError("it serves over TLS only", { hint: "Write nbds:// instead of nbd://" });
  const isStructured = structured.end === optionReply.ack;
  const granted = new Map<number, string>();
  if (isStructured && contexts.length > 0) {
    const data = encodeMetaContextRequest({ name: address.exportName, queries: contexts });
    const answer = await option(socket, bytes, nbdOption.setMetaContext, data);
    for (const { type, data: body } of answer.end === optionReply.ack ? answer.replies : []) {
      if (type !== optionReply.metaContext) continue;
      const { id, name } = decodeMetaContext(body);
      granted.set(id, name);
    }
  }
  return {
    socket,
    bytes,
    export: { ...(await go(socket, bytes, address)), isStructured, contexts: granted },
  };
}

async function go(
  socket: Socket,
  bytes: SocketBytes,
  { exportName }: NbdAddress,
): Promise<Omit<NbdExport, "isStructured" | "contexts">> {
  const data = encodeExportRequest({ name: exportName, infos: [infoType.blockSize] });
  const answer = await option(socket, bytes, nbdOption.go, data);
  if (answer.end === optionReply.unknown) {
    const others = await exportNames(socket, bytes);
    throw new FailedError(`it has no export named "${exportName}"`, {
      ...(others.length === 0
        ? {}
        : { hint: `It has ${others.map((name) => `"${name}"`).join(", ")}` }),
    });
  }
  if (answer.end !== optionReply.ack) throw new FailedError(refusalOf(answer));
  let size: number | undefined;
  let flags = 0;
  let blockBytesMin = 1;
  let requestBytesMax = nbdRequestBytesMax;
  for (const { type, data: body } of answer.replies) {
    if (type !== optionReply.info) continue;
    const info = decodeExportInfo(body);
    if (info.type === "export") ({ size, flags } = info);
    if (info.type !== "blockSize") continue;
    blockBytesMin = info.minimum;
    requestBytesMax = Math.min(info.maximum, nbdRequestBytesMax);
  }
  if (size === undefined) throw new FailedError("it does not say how large the export is");
  const isPower = Number.isInteger(Math.log2(blockBytesMin));
  if (!isPower || blockBytesMin > blockBytesMax || requestBytesMax < blockBytesMin)
    throw new FailedError("its block sizes make no sense");
  return { size, flags, blockBytesMin, requestBytesMax };
}

function refusalOf({ end, text }: OptionReplies): string {
  const reasons: Readonly<Record<number, string>> = {
    [optionReply.policy]: "it is not allowed to us",
    [optionReply.tlsRequired]: "it serves over TLS only",
    [optionReply.shutdown]: "the server is shutting down",
    [optionReply.unsupported]: "the server is too old (no NBD_OPT_GO)",
  };
  const reason = reasons[end] ?? `the server refuses with ${end.toString(16)}`;
  return text === "" ? reason : `${reason} (${text})`;
}

async function exportNames(socket: Socket, bytes: SocketBytes): Promise<string[]> {
  const answer = await option(socket, bytes, nbdOption.list);
  if (answer.end !== optionReply.ack) return [];
  return answer.replies
    .filter(({ type }) => type === optionReply.server)
    .slice(0, exportsShown)
    .map(({ data }) => decodeListedExport(data).name);
}

async function option(
  socket: Socket,
  bytes: SocketBytes,
  number: number,
  data?: Uint8Array,
): Promise<OptionReplies> {
  socket.write(encodeOption(number, data));
  const replies: { type: number; data: Buffer }[] = [];
  while (replies.length < repliesMax) {
    const header = decodeOptionReplyHeader(await bytes.read(optionReplyHeaderBytes));
    if (header.option !== number) throw new FailedError("it answers what was not asked");
    if (header.length > replyBytesMax) throw new FailedError("an answer to an option is too long");
    const body = await bytes.read(header.length);
    if (header.type === optionReply.ack) return { end: header.type, text: "", replies };
    if (isErrorReply(header.type))
      return { end: header.type, text: body.toString("utf8").slice(0, 300), replies };
    replies.push({ type: header.type, data: body });
  }
  throw new FailedError("its answer to an option has no end");
}
