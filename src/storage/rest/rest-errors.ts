/** What a connection or a server's status means to whoever stores: worth another try or not, and what to do. */
import { BackendError } from "../../errors.ts";
import type { HttpAnswer } from "./http-calls.ts";
import type { RestServer } from "./rest-server.ts";

/** A time limit of ours ran out. */
export class StalledError extends Error {
  readonly code = "ETIMEDOUT";
}

const temporaryCodes: ReadonlySet<string> = new Set([
  "ECONNABORTED",
  "ECONNREFUSED",
  "ECONNRESET",
  "EAI_AGAIN",
  "EHOSTDOWN",
  "EHOSTUNREACH",
  "EMFILE",
  "ENETDOWN",
  "ENETUNREACH",
  "EPIPE",
  "ERR_STREAM_PREMATURE_CLOSE",
  "ETIMEDOUT",
]);

const certificateHint =
  "If the certificate is of your own authority, name that: -o rest.cacert=FILE. If not, somebody may stand between";

const hints: Readonly<Record<string, string>> = {
  ECONNREFUSED: "Is the server running, and is this its port?",
  ENOTFOUND: "No such host: check the name in the URL",
  ENOENT: "There is no such socket: is the server running?",
  EPROTO: "The server does not speak TLS there: is it rest:http://…?",
  HPE_INVALID_CONSTANT: "That is no HTTP: is the server's URL rest:https://…?",
  ERR_TLS_CERT_ALTNAME_INVALID:
    "The server's certificate is for another name: use that name in the URL",
  CERT_HAS_EXPIRED: "The server's certificate has expired: it has to be renewed there",
};

/** Errors of Node's sockets, TLS and parser. */
export function connectionError(error: unknown, action: string, server: RestServer): BackendError {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  const isCertificate = /CERT|SIGNATURE|SELF_SIGNED|ISSUER/.test(code);
  const words = error instanceof Error ? error.message : String(error);
  const hint = hints[code] ?? (isCertificate ? certificateHint : undefined);
  return new BackendError(`${action} in ${server.display}: ${words || code}`, {
    cause: error,
    temporary: temporaryCodes.has(code) || code.startsWith("HPE_"),
    ...(code === "" ? {} : { errno: code }),
    ...(hint === undefined ? {} : { hint }),
  });
}

const temporaryStatus: ReadonlySet<number> = new Set([408, 425, 429, 500, 502, 503, 504]);

const statusHints: Readonly<Record<number, string>> = {
  401: "Give user and password in the URL, or in ASHLAR_REST_USERNAME and ASHLAR_REST_PASSWORD",
  403: "This user may not do that there: check its role, and whether the path of the URL is its repository",
  404: "Is this the server's URL, and the repository's path in it?",
  413: "The server takes no objects of this size",
  429: "The server limits how much this user may ask for",
  507: "The quota or the disk is full: raise it, or forget snapshots and run `ashlar prune` with a user that may delete",
};

/** A status that is no answer to what was asked. */
export function statusError(answer: HttpAnswer, action: string, server: RestServer): BackendError {
  const status = answer.statusCode;
  const redirect = status >= 300 && status < 400 ? originOf(answer.headers.location) : undefined;
  if (redirect !== undefined) {
    return new BackendError(`${action} in ${server.display}: the server sends us to ${redirect}`, {
      hint: "Credentials are not taken there: name the other server in the URL if it is the right one",
    });
  }
  const hint = statusHints[status];
  const retryAfterMs = retryAfter(answer.headers["retry-after"]);
  return new BackendError(
    `${action} in ${server.display}: the server answered ${status} ${printable(answer.statusMessage ?? "")}`.trimEnd(),
    {
      temporary: temporaryStatus.has(status),
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
      ...(status === 507 ? { errno: "ENOSPC" } : {}),
      ...(hint === undefined ? {} : { hint }),
    },
  );
}

/** Seconds only: a date would need a clock that agrees with the server's. */
function retryAfter(header: string | undefined): number | undefined {
  return header !== undefined && /^\d{1,5}$/.test(header) ? Number(header) * 1000 : undefined;
}

/** Never the whole: a redirect may carry a token. */
function originOf(location: string | undefined): string {
  if (location === undefined || !URL.canParse(location)) return "another path";
  const { protocol, host } = new URL(location);
  return `${protocol}//${host}`;
}

function printable(text: string): string {
  return text.replace(/[^ -~]/g, "?").slice(0, 100);
}
