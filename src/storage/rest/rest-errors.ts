/** What a connection or a server's status means to whoever stores: worth another try or not, and what to do. */
import { BackendError } from "../../errors.ts";
import {
  connectionWords,
  isCertificateCode,
  isTemporaryCode,
  isTemporaryStatus,
  originOf,
  retryAfter,
} from "../http.ts";
import type { HttpAnswer } from "./http-calls.ts";
import type { RestServer } from "./rest-server.ts";

const certificateHint =
  "If the certificate is of your own authority, name that: -o rest.cacert=FILE. If not, somebody may stand between";

const hints: Readonly<Record<string, string>> = {
  ECONNREFUSED: "Is the server running, and is this its port?",
  ENOTFOUND: "No such host: check the name in the URL",
  ENOENT: "There is no such socket: is the server running?",
  EPROTO: "The server does not speak TLS there: is it rest:http://…?",
  HPE_INVALID_CONSTANT: "That is no HTTP: is the server's URL rest:https://…?",
  ERR_TLS_CERT_ALTNAME_INVALID:
    "Use the certificate's own name in the URL. If the name is right as it is, somebody may stand between",
  CERT_HAS_EXPIRED: "The server's certificate has expired: it has to be renewed there",
};

/** Errors of Node's sockets, TLS and parser. */
export function connectionError(error: unknown, action: string, server: RestServer): BackendError {
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  const words = error instanceof Error ? error.message : String(error);
  const hint = hints[code] ?? (isCertificateCode(code) ? certificateHint : undefined);
  return new BackendError(`${action} in ${server.display}: ${connectionWords(code, words)}`, {
    cause: error,
    temporary: isTemporaryCode(code),
    ...(code === "" ? {} : { errno: code }),
    ...(hint === undefined ? {} : { hint }),
  });
}

const statusHints: Readonly<Record<number, string>> = {
  401: "Give user and password in the URL, or in ASHLAR_REST_USERNAME and ASHLAR_REST_PASSWORD",
  403: "This user may not do that there: check its role, and whether the path of the URL is its repository",
  404: "Is this the server's URL, and the repository's path in it?",
  413: "The server takes no objects of this size",
  429: "The server limits how much this user may ask for: try later, or have the limit raised there",
  507: "The quota or the disk is full: raise it, or forget snapshots and run `ashlar prune` with a user that may delete",
};

/** A status that is no answer to what was asked. */
export function statusError(answer: HttpAnswer, action: string, server: RestServer): BackendError {
  const status = answer.statusCode;
  const redirect =
    status >= 300 && status < 400
      ? (originOf(answer.headers.location) ?? "another path")
      : undefined;
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
      temporary: isTemporaryStatus(status),
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
      ...(status === 507 ? { errno: "ENOSPC" } : {}),
      ...(hint === undefined ? {} : { hint }),
    },
  );
}

function printable(text: string): string {
  return text.replace(/[^ -~]/g, "?").slice(0, 100);
}
