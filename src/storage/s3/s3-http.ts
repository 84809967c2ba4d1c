/**
 * The SDK's requests over Node's HTTP: kept connections, time limits, the user's bandwidth limits piece
 * by piece, bodies from any memory. No redirect is ever followed: credentials go to one endpoint.
 */
import http from "node:http";
import https from "node:https";
import { pipeline, Readable, Transform } from "node:stream";
import type { Pace } from "../backend.ts";
import { answerTo, limitConnecting, limitIdling, pieces, setSocketTimeout } from "../http.ts";

/** Small enough that a slow line shows movement within the time limit. */
const pieceBytes = 64 * 1024;
/** So that limits are smooth. */
const pacedPieceBytes = 16 * 1024;

export interface S3HttpOptions {
  readonly ca: Uint8Array | undefined;
  readonly connectTimeoutMs: number;
  readonly idleTimeoutMs: number;
  readonly pace: Pace | undefined;
}

/** A page of a list has a thousand names. */
const answerBytesMax = 8 << 20;

/** What the SDK hands over, its own class, as far as it matters here. */
interface SdkRequest {
  readonly protocol: string;
  readonly hostname: string;
  readonly port?: number;
  readonly method: string;
  /** Encoded. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string | readonly string[] | null>>;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: unknown;
}

interface SdkResponse {
  readonly statusCode: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Readable;
}

/** A body lent piece by piece. */
export class PartsBody extends Readable {
  /** Is paid for, but waits for nobody: a session that cannot be refreshed is taken for dead. */
  readonly isUrgent: boolean;
  /** Of the whole, in hexadecimal: signed, so that the server refuses what arrives otherwise. */
  readonly sha256: string;
  readonly #pieces: Iterator<Uint8Array>;

  constructor(parts: readonly Uint8Array[], sha256: string, isUrgent: boolean) {
    super({ objectMode: true, highWaterMark: 1 });
    this.sha256 = sha256;
    this.isUrgent = isUrgent;
    this.#pieces = pieces(parts, pieceBytes);
  }

  override _read(): void {
    const next = this.#pieces.next();
    this.push(next.done === true ? null : next.value);
  }
}

export class S3Http {
  readonly metadata = { handlerProtocol: "http/1.1" };
  readonly #options: S3HttpOptions;
  readonly #agents: { readonly http: http.Agent; readonly https: https.Agent };

  constructor(options: S3HttpOptions) {
    this.#options = options;
    const { ca } = options;
    const agent = { keepAlive: true, scheduling: "lifo" as const };
    this.#agents = {
      http: new http.Agent(agent),
      https: new https.Agent({ ...agent, ...(ca === undefined ? {} : { ca: Buffer.from(ca) }) }),
    };
  }

  async handle(
    request: SdkRequest,
    { abortSignal }: { readonly abortSignal?: AbortSignal | undefined } = {},
  ): Promise<{ response: SdkResponse }> {
    const outgoing = this.#start(request, abortSignal);
    const answer = answerTo(outgoing);
    this.#send(outgoing, request.body, abortSignal).catch((error: unknown) =>
      outgoing.destroy(error as Error),
    );
    const response = await answer;
    // Refused before all was heard: the rest need not be sent, and the connection is of no more use.
    if (!outgoing.writableFinished) response.once("close", () => outgoing.destroy());
    const headers = Object.fromEntries(
      Object.entries(response.headers).map(([name, value]) => [name, String(value)]),
    );
    const statusCode = response.statusCode ?? 0;
    const isObject = request.query?.["x-id"] === "GetObject" && statusCode < 300;
    return { response: { statusCode, headers, body: isObject ? response : bounded(response) } };
  }

  /** Awaited after bytes came, so that the line's other end is held back by the user's limit. */
  async received(body: http.IncomingMessage, bytes: number, signal: AbortSignal | undefined) {
    const { pace, idleTimeoutMs } = this.#options;
    if (pace === undefined) return;
    setSocketTimeout(body, 0);
    await pace.receive(bytes, signal);
    setSocketTimeout(body, idleTimeoutMs);
  }

  destroy(): void {
    this.#agents.http.destroy();
    this.#agents.https.destroy();
  }

  #start(request: SdkRequest, signal: AbortSignal | undefined): http.ClientRequest {
    const { connectTimeoutMs, idleTimeoutMs } = this.#options;
    const isTls = request.protocol === "https:";
    const query = queryText(request.query ?? {});
    const outgoing = (isTls ? https : http).request({
      host: request.hostname.replace(/^\[|\]$/g, ""),
      ...(request.port === undefined ? {} : { port: request.port }),
      method: request.method,
      path: query === "" ? request.path : `${request.path}?${query}`,
      headers: request.headers,
      agent: isTls ? this.#agents.https : this.#agents.http,
      ...(signal === undefined ? {} : { signal }),
    });
    limitIdling(outgoing, idleTimeoutMs);
    limitConnecting(outgoing, connectTimeoutMs, isTls);
    return outgoing;
  }

  async #send(
    outgoing: http.ClientRequest,
    body: unknown,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    if (body instanceof PartsBody) {
      await this.#sendParts(outgoing, body, body.isUrgent ? undefined : this.#options.pace, signal);
      outgoing.end();
    } else if (body === undefined || body === null || body === "") outgoing.end();
    else outgoing.end(body);
  }

  /** Returns early when the request is over: its answer says how. */
  async #sendParts(
    outgoing: http.ClientRequest,
    body: PartsBody,
    pace: Pace | undefined,
    signal: AbortSignal | undefined,
  ): Promise<void> {
    const over = new AbortController();
    for (const event of ["close", "response"])
      outgoing.once(event, () => {
        over.abort();
      });
    for await (const piece of body as AsyncIterable<Uint8Array>) {
      for (let at = 0; at < piece.length;) {
        const end = pace === undefined ? piece.length : at + pacedPieceBytes;
        const some = piece.subarray(at, end);
        at += some.length;
        if (pace !== undefined) {
          outgoing.socket?.setTimeout(0);
          await pace.send(some.length, signal);
          outgoing.socket?.setTimeout(this.#options.idleTimeoutMs);
        }
        if (over.signal.aborted) return;
        if (!outgoing.write(some)) await drained(outgoing);
      }
    }
  }
}

/** Resolves also when the request has ended: its answer says how. */
function drained(outgoing: http.ClientRequest): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      for (const event of ["drain", "close", "response"]) outgoing.off(event, done);
      resolve();
    };
    for (const event of ["drain", "close", "response"]) outgoing.once(event, done);
  });
}

/** The SDK takes lists and errors into memory whole, however long a server makes them. */
function bounded(answer: http.IncomingMessage): Readable {
  let length = 0;
  const body = new Transform({
    transform(chunk: Buffer, _encoding, done) {
      length += chunk.length;
      if (length > answerBytesMax) done(new Error("its answer has no end"));
      else done(null, chunk);
    },
  });
  pipeline(answer, body, () => undefined); // Who reads it hears of an error.
  return body;
}

/** As the SDK has signed it. */
function queryText(query: NonNullable<SdkRequest["query"]>): string {
  const escape = (text: string): string =>
    encodeURIComponent(text).replace(
      /[!'()*]/g,
      (sign) => `%${sign.charCodeAt(0).toString(16).toUpperCase()}`,
    );
  return Object.keys(query)
    .sort()
    .flatMap((name) => {
      const value = query[name];
      if (value === null || value === undefined) return [escape(name)];
      return (typeof value === "string" ? [value] : value).map(
        (one) => `${escape(name)}=${escape(one)}`,
      );
    })
    .join("&");
}
