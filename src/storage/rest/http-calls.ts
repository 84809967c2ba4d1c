/** Requests to one server: kept connections, time limits, bodies from any memory; every failure as a BackendError. */
import http from "node:http";
import https from "node:https";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { StoreError } from "../../errors.ts";
import type { Pace } from "../backend.ts";
import { answerTo, limitConnecting, limitIdling, pieces, setSocketTimeout } from "../http.ts";
import { connectionError } from "./rest-errors.ts";
import type { RestServer } from "./rest-server.ts";

/** Small enough that a slow line shows movement, large enough that calls cost nothing. */
const pieceBytes = 256 * 1024;
/** So that limits are smooth. */
const pacedPieceBytes = 16 * 1024;
/** What is left of an answer that nobody wants, so that its connection can be used again. */
const drainBytesMax = 256 * 1024;

export interface HttpRequest {
  readonly method: "GET" | "HEAD" | "POST" | "DELETE";
  /** Below the repository's own path; encoded. */
  readonly path: string;
  /** For messages: "read data object 3f9a…". */
  readonly action: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: readonly Uint8Array[];
  /** Waits for no bandwidth limit: a session that cannot be refreshed is taken for dead. */
  readonly isUrgent?: boolean;
  readonly signal?: AbortSignal | undefined;
}

export type HttpAnswer = http.IncomingMessage & { readonly statusCode: number };

export class HttpCalls {
  readonly server: RestServer;
  readonly #pace: Pace | undefined;
  readonly #agent: http.Agent;

  constructor(server: RestServer, pace?: Pace) {
    this.server = server;
    this.#pace = pace;
    const options = {
      keepAlive: true,
      maxSockets: server.connectionsMax,
      scheduling: "lifo" as const,
    };
    this.#agent = server.isTls
      ? new https.Agent({
          ...options,
          ...(server.ca === undefined ? {} : { ca: Buffer.from(server.ca) }),
          ...(server.certificate === undefined ? {} : { cert: Buffer.from(server.certificate) }),
          ...(server.key === undefined ? {} : { key: Buffer.from(server.key) }),
        })
      : new http.Agent(options);
  }

  /**
   * Sends, and gives `read` the answer whose body it has to read or leave.
   * @throws {BackendError} temporary where a connection failed, stalled or ended early
   */
  async call<T>(request: HttpRequest, read: (answer: HttpAnswer) => Promise<T> | T): Promise<T> {
    const { answer, sent } = await this.open(request);
    try {
      const value = await read(answer);
      await drained(answer);
      // Until then the body's memory is not the caller's again; an early answer ends the sending.
      await sent.catch(() => undefined);
      return value;
    } catch (error) {
      answer.destroy();
      await sent.catch(() => undefined);
      throw this.failure(error, request);
    }
  }

  /** As `call`, for a body that is read over a longer time: who reads it destroys it. */
  async open(request: HttpRequest): Promise<{ answer: HttpAnswer; sent: Promise<void> }> {
    request.signal?.throwIfAborted();
    const outgoing = this.#start(request);
    const sent =
      request.body === undefined
        ? Promise.resolve(void outgoing.end())
        : sendBody(outgoing, this.#paced(outgoing, request));
    sent.catch(() => undefined); // The answer's promise tells of it.
    try {
      const answer = (await answerTo(outgoing)) as HttpAnswer;
      // Refused before it had heard all: the rest need not be sent.
      if (answer.statusCode >= 300 && !outgoing.writableFinished) outgoing.destroy();
      return { answer, sent };
    } catch (error) {
      outgoing.destroy();
      await sent.catch(() => undefined);
      throw this.failure(error, request);
    }
  }

  /** Of an answer that is read at the pace of who uses it: that pace is no stall. */
  async *chunksOf(answer: HttpAnswer): AsyncGenerator<Uint8Array> {
    const { socket } = answer; // It is taken from an answer that has ended.
    for await (const chunk of answer as AsyncIterable<Uint8Array>) {
      if (!answer.complete) socket.setTimeout(0);
      yield chunk;
      if (!answer.complete) socket.setTimeout(this.server.idleTimeoutMs);
    }
  }

  /** Awaited after bytes came, so that the server is held back by the user's limit. */
  async received(answer: HttpAnswer, bytes: number): Promise<void> {
    if (this.#pace === undefined) return;
    setSocketTimeout(answer, 0);
    await this.#pace.receive(bytes);
    setSocketTimeout(answer, this.server.idleTimeoutMs);
  }

  /** A wait for the user's limit is no stall. */
  async *#paced(
    outgoing: http.ClientRequest,
    { body = [], isUrgent = false, signal }: HttpRequest,
  ): AsyncGenerator<Uint8Array> {
    for (const piece of pieces(body, pieceBytes)) {
      if (this.#pace === undefined || isUrgent) {
        yield piece;
        continue;
      }
      for (let at = 0; at < piece.length; at += pacedPieceBytes) {
        const some = piece.subarray(at, at + pacedPieceBytes);
        outgoing.socket?.setTimeout(0);
        await this.#pace.send(some.length, signal);
        outgoing.socket?.setTimeout(this.server.idleTimeoutMs);
        yield some;
      }
    }
  }

  failure(error: unknown, { signal, action }: HttpRequest): unknown {
    if (signal?.aborted === true) return signal.reason;
    if (error instanceof StoreError) return error;
    return connectionError(error, `Cannot ${action}`, this.server);
  }

  close(): void {
    this.#agent.destroy();
  }

  #start({ method, path, headers, body, signal }: HttpRequest): http.ClientRequest {
    const { server } = this;
    const length = (body ?? []).reduce((sum, part) => sum + part.length, 0);
    const outgoing = (server.isTls ? https : http).request({
      method,
      agent: this.#agent,
      ...(server.socketPath === undefined
        ? { hostname: server.hostname, port: server.port }
        : { socketPath: server.socketPath }),
      path: `${server.basePath}${path}`,
      headers: {
        ...headers,
        ...(server.authorization === undefined ? {} : { authorization: server.authorization }),
        ...(method === "POST" ? { "content-length": length } : {}),
      },
      ...(signal === undefined ? {} : { signal }),
    });
    limitIdling(outgoing, server.idleTimeoutMs);
    limitConnecting(outgoing, server.connectTimeoutMs, server.isTls);
    return outgoing;
  }
}

async function sendBody(
  outgoing: http.ClientRequest,
  body: AsyncIterable<Uint8Array>,
): Promise<void> {
  await pipeline(Readable.from(body, { objectMode: true, highWaterMark: 1 }), outgoing);
}

async function drained(answer: HttpAnswer): Promise<void> {
  if (answer.readableEnded || answer.destroyed) return;
  let bytes = 0;
  for await (const chunk of answer as AsyncIterable<Uint8Array>) {
    bytes += chunk.length;
    if (bytes > drainBytesMax) break;
  }
}
