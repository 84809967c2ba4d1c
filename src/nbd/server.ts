/**
 * One client's connection: the handshake, then requests, many at a time, until it leaves.
 *
 * Requests under way are bounded in number and in bytes; behind that the client's own writes wait. A
 * bad request gets an error and the talk goes on; only what cannot be parsed ends it.
 */
import type { Duplex } from "node:stream";
import { NbdProtocolError } from "./protocol-bytes.ts";
import { commandFlag, nbdCommand, nbdError, nbdRequestBytesMax } from "./protocol-constants.ts";
import {
  decodeRequest,
  encodeChunk,
  encodeDataChunkPrefix,
  encodeSimpleReply,
  type NbdRequest,
  requestHeaderBytes,
} from "./protocol-requests.ts";
import type { NbdServerOptions } from "./server-export.ts";
import { type ChosenExport, exportSize, shakeHands } from "./server-handshake.ts";
import { ConnectionEnded, ServerStream } from "./server-stream.ts";

const requestsMost = 64;
const bytesMost = 64 * 1024 * 1024;
const handshakeMs = 30_000;

/** Resolves when the client has gone. Never rejects for what a client did. */
export async function serveNbd(socket: Duplex, options: NbdServerOptions): Promise<void> {
  const stream = new ServerStream(socket);
  const timer = setTimeout(() => socket.destroy(), handshakeMs);
  try {
    const chosen = await shakeHands(stream, options);
    clearTimeout(timer);
    if (chosen !== undefined) await new Transmission(stream, chosen, options).run();
    stream.end();
  } catch (error) {
    socket.destroy();
    if (!(error instanceof ConnectionEnded || error instanceof NbdProtocolError)) throw error;
  } finally {
    clearTimeout(timer);
  }
}

class Transmission {
  readonly #stream: ServerStream;
  readonly #chosen: ChosenExport;
  readonly #options: NbdServerOptions;
  readonly #running = new Set<Promise<void>>();
  #bytes = 0;

  constructor(stream: ServerStream, chosen: ChosenExport, options: NbdServerOptions) {
    this.#stream = stream;
    this.#chosen = chosen;
    this.#options = options;
  }

  async run(): Promise<void> {
    try {
      for (;;) {
        const request = decodeRequest(await this.#stream.read(requestHeaderBytes));
        if (request.type === nbdCommand.disconnect) break;
        if (request.type === nbdCommand.write) await this.#stream.skip(request.length);
        const bytes =
          request.type === nbdCommand.read ? Math.min(request.length, nbdRequestBytesMax) : 0;
        while (
          this.#running.size >= requestsMost ||
          (this.#bytes > 0 && this.#bytes + bytes > bytesMost)
        )
          await Promise.race(this.#running);
        this.#bytes += bytes;
        const running = this.#answer(request).finally(() => {
          this.#bytes -= bytes;
          this.#running.delete(running);
        });
        this.#running.add(running);
        running.catch(() => undefined); // Only a client that went: the next read says so too.
      }
    } finally {
      await Promise.allSettled(this.#running);
    }
  }

  async #answer(request: NbdRequest): Promise<void> {
    const { cookie, type } = request;
    const fault = this.#faultOf(request);
    if (fault !== undefined) return this.#fail(request, fault[0], fault[1]);
    try {
      switch (type) {
        case nbdCommand.read:
          await this.#read(request);
          return;
        case nbdCommand.blockStatus:
          await this.#status(request);
          return;
        case nbdCommand.cache:
          await this.#parts(request);
      }
    } catch (error) {
      if (error instanceof ConnectionEnded) throw error;
      this.#options.onFailure(this.#chosen.target.name, error);
      return this.#fail(request, nbdError.io, "the repository cannot give this range");
    }
    await this.#stream.write([encodeSimpleReply(cookie, 0)]);
  }

  #faultOf({ type, flags, offset, length }: NbdRequest): [number, string] | undefined {
    const known: number =
      { [nbdCommand.read]: commandFlag.df, [nbdCommand.blockStatus]: commandFlag.reqOne }[type] ??
      0;
    switch (type) {
      case nbdCommand.flush:
        return undefined;
      case nbdCommand.write:
      case nbdCommand.trim:
      case nbdCommand.writeZeroes:
        return [nbdError.perm, "a snapshot is read-only"];
      case nbdCommand.read:
      case nbdCommand.cache:
      case nbdCommand.blockStatus:
        break;
      default:
        return [nbdError.invalid, "the command is not known"];
    }
    if ((flags & ~(known | commandFlag.fua)) !== 0)
      return [nbdError.invalid, "a flag is not known"];
    if (length === 0) return [nbdError.invalid, "the range is empty"];
    if (type !== nbdCommand.blockStatus && length > nbdRequestBytesMax)
      return [nbdError.invalid, "more than 32 MiB are asked for"];
    if (offset + length > exportSize(this.#chosen.target))
      return [nbdError.invalid, "the range reaches past the end"];
    if (type === nbdCommand.blockStatus && this.#chosen.contexts.size === 0)
      return [nbdError.invalid, "no metadata context was chosen"];
    return undefined;
  }

  #fail({ cookie, type }: NbdRequest, error: number, message: string): Promise<void> {
    const needsChunk = type === nbdCommand.read || type === nbdCommand.blockStatus;
    return this.#stream.write([
      this.#chosen.isStructured && needsChunk
        ? encodeChunk(cookie, { type: "error", error, message }, true)
        : encodeSimpleReply(cookie, error),
    ]);
  }

  /** Behind the image's end, up to a whole sector, come zeros. */
  async #parts({ offset, length }: NbdRequest): Promise<readonly (Uint8Array | number)[]> {
    const { target } = this.#chosen;
    const there = Math.max(0, Math.min(length, target.size - offset));
    const parts = there === 0 ? [] : await target.read(offset, there);
    return there === length ? parts : [...parts, length - there];
  }

  async #read(request: NbdRequest): Promise<void> {
    const { cookie, offset, length, flags } = request;
    const parts = await this.#parts(request);
    if (!this.#chosen.isStructured)
      return this.#stream.write([encodeSimpleReply(cookie, 0), ...parts]);
    if ((flags & commandFlag.df) !== 0)
      return this.#stream.write([encodeDataChunkPrefix(cookie, offset, length, true), ...parts]);
    const out: Uint8Array[] = [];
    let at = offset;
    for (let row = 0; row < parts.length;) {
      const isHole = typeof parts[row] === "number";
      const first = row;
      let run = 0;
      for (; row < parts.length && (typeof parts[row] === "number") === isHole; row++) {
        const part = parts[row]!;
        run += typeof part === "number" ? part : part.length;
      }
      const isDone = row === parts.length;
      if (isHole) out.push(encodeChunk(cookie, { type: "hole", offset: at, length: run }, isDone));
      else {
        out.push(encodeDataChunkPrefix(cookie, at, run, isDone));
        out.push(...parts.slice(first, row).filter((part) => typeof part !== "number"));
      }
      at += run;
    }
    return this.#stream.write(out);
  }

  async #status({ cookie, offset, length, flags }: NbdRequest): Promise<void> {
    const { target, contexts } = this.#chosen;
    const isOne = (flags & commandFlag.reqOne) !== 0;
    const there = Math.min(length, target.size - offset);
    const out: Uint8Array[] = [];
    let left = contexts.size;
    for (const [context, name] of contexts) {
      const extents =
        there > 0 ? await target.blockStatus(name, offset, there) : [{ length, flags: 0 }];
      const some = isOne ? extents.slice(0, 1) : extents;
      out.push(encodeChunk(cookie, { type: "status", context, extents: some }, --left === 0));
    }
    return this.#stream.write(out);
  }
}
