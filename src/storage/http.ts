/** What S3 and REST share: bodies in pieces, answers, and what a failed connection means. */
import type http from "node:http";
import type { Socket } from "node:net";

/** A time limit of ours ran out. */
export class StalledError extends Error {
  readonly code = "ETIMEDOUT";
}

/** Of Node's sockets and parser: another try may go well. */
export function isTemporaryCode(code: string): boolean {
  return temporaryCodes.has(code) || code.startsWith("HPE_");
}

const temporaryCodes: ReadonlySet<string> = new Set([
  ...["ECONNABORTED", "ECONNREFUSED", "ECONNRESET", "EAI_AGAIN", "EHOSTDOWN", "EHOSTUNREACH"],
  ...["EMFILE", "ENETDOWN", "ENETUNREACH", "EPIPE", "ERR_STREAM_PREMATURE_CLOSE", "ETIMEDOUT"],
]);

export function isTemporaryStatus(status: number): boolean {
  return [408, 425, 429, 500, 502, 503, 504].includes(status);
}

export function isCertificateCode(code: string): boolean {
  return /CERT|SIGNATURE|SELF_SIGNED|ISSUER/.test(code);
}

/** Node's and OpenSSL's own words take lines, and speak of their source files. */
export function connectionWords(code: string, message: string): string {
  if (/wrong version number|packet length too long/.test(message))
    return "the server's answer is not TLS";
  const reason = /SSL routines:[^:]*:([^:]+)/.exec(message)?.[1];
  if (reason !== undefined) return `no agreement on TLS: ${reason}`;
  if (code === "ERR_TLS_CERT_ALTNAME_INVALID")
    return "the server's certificate is for another name";
  return message.replace(/\s+/g, " ").trim() || code;
}

/** Seconds only: a date would need a clock that agrees with the server's. */
export function retryAfter(header: string | undefined): number | undefined {
  return header !== undefined && /^\d{1,5}$/.test(header) ? Number(header) * 1000 : undefined;
}

/** Never the whole: a redirect may carry a token. */
export function originOf(location: string | undefined): string | undefined {
  if (location === undefined || !URL.canParse(location)) return undefined;
  const { protocol, host } = new URL(location);
  return `${protocol}//${host}`;
}

export function answerTo(outgoing: http.ClientRequest): Promise<http.IncomingMessage> {
  return new Promise((resolve, reject) => {
    outgoing.once("response", resolve);
    outgoing.on("error", reject);
    outgoing.once("close", () => {
      reject(new StalledError("the connection was closed"));
    });
  });
}

/** Ends what does not move; Node begins this limit when the connection stands. */
export function limitIdling(outgoing: http.ClientRequest, idleTimeoutMs: number): void {
  let answer: http.IncomingMessage | undefined;
  outgoing.once("response", (response) => {
    answer = response;
  });
  outgoing.setTimeout(idleTimeoutMs, () => {
    const error = new StalledError(`nothing moved for ${idleTimeoutMs / 1000} s`);
    (answer ?? outgoing).destroy(error); // Whoever reads the answer hears why.
  });
}

export function limitConnecting(
  outgoing: http.ClientRequest,
  connectTimeoutMs: number,
  isTls: boolean,
): void {
  outgoing.once("socket", (socket) => {
    if (!socket.connecting) return;
    const timer = setTimeout(() => {
      outgoing.destroy(new StalledError(`no connection within ${connectTimeoutMs / 1000} s`));
    }, connectTimeoutMs);
    const done = (): void => {
      clearTimeout(timer);
    };
    socket.once(isTls ? "secureConnect" : "connect", done);
    socket.once("close", done);
  });
}

/** A body that is whole has given its socket back, whatever the types say. */
export function setSocketTimeout(body: http.IncomingMessage, ms: number): void {
  (body.socket as Socket | null)?.setTimeout(ms);
}

/** Small neighbours are copied together, large parts are lent as they lie. */
export function* pieces(parts: readonly Uint8Array[], pieceBytes: number): Generator<Uint8Array> {
  let small: Uint8Array[] = [];
  let smallBytes = 0;
  for (const part of parts) {
    if (part.length < pieceBytes / 4) {
      if (part.length > 0) small.push(part);
      smallBytes += part.length;
      if (smallBytes < pieceBytes) continue;
    }
    if (small.length > 0) yield Buffer.concat(small);
    small = [];
    smallBytes = 0;
    if (part.length < pieceBytes / 4) continue;
    for (let at = 0; at < part.length; at += pieceBytes) yield part.subarray(at, at + pieceBytes);
  }
  if (small.length > 0) yield Buffer.concat(small);
}
