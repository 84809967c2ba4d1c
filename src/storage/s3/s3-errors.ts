/** What a connection's or a server's failure means to whoever stores: worth another try or not, and what to do. */
import { STATUS_CODES } from "node:http";
import { AbortedError, BackendError, RepositoryNotFoundError, StoreError } from "../../errors.ts";
import {
  connectionWords,
  isCertificateCode,
  isTemporaryCode,
  isTemporaryStatus,
  originOf,
  retryAfter,
} from "../http.ts";

/** What the SDK, Node and the server tell of a failed request. */
export interface S3Problem {
  /** The server's word (`NoSuchKey`), or the system's (`ECONNREFUSED`). */
  readonly code: string;
  /** 0: no answer came. */
  readonly status: number;
  readonly message: string;
  readonly headers: Readonly<Record<string, string | undefined>>;
  /** The server's word for where the bucket is. */
  readonly region: string | undefined;
  /** The SDK has learned the server's time from its answer. */
  readonly isClockCorrected: boolean;
}

export function problemOf(error: unknown): S3Problem {
  const fields = (typeof error === "object" && error !== null ? error : {}) as {
    readonly name?: string;
    readonly Code?: string;
    readonly code?: string;
    readonly message?: string;
    readonly Region?: string;
    readonly $metadata?: {
      readonly httpStatusCode?: number;
      readonly clockSkewCorrected?: boolean;
    };
    readonly $response?: {
      readonly statusCode?: number;
      readonly headers?: Readonly<Record<string, string | undefined>>;
    };
  };
  const { $metadata, $response } = fields;
  const headers = $response?.headers ?? {};
  return {
    code: fields.Code ?? fields.code ?? fields.name ?? "",
    status: $metadata?.httpStatusCode ?? $response?.statusCode ?? 0,
    message: fields.message ?? "",
    headers,
    region: headers["x-amz-bucket-region"] ?? fields.Region,
    isClockCorrected: $metadata?.clockSkewCorrected === true,
  };
}

/** The server's words; what was sent is not what arrived, or did not arrive whole. */
const temporaryCodes: ReadonlySet<string> = new Set([
  ...["BadDigest", "XAmzContentSHA256Mismatch", "IncompleteBody", "RequestTimeout"],
  ...["ConditionalRequestConflict", "OperationAborted", "SlowDown", "Throttling"],
  ...["InternalError", "ServiceUnavailable", "RequestLimitExceeded", "TooManyRequests"],
]);

const certificateHint =
  "If the certificate is of your own authority, name that: -o s3.cacert=FILE. If not, somebody may stand between";
const credentialsHint =
  "Check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE and the files in ~/.aws";

const hints: Readonly<Record<string, string>> = {
  AccessDenied:
    "These credentials may not do that there: check the bucket's policy. Without s3:ListBucket an absent object is refused too",
  Forbidden: "These credentials may not do that there: check the bucket's policy",
  ExpiredToken: "The session's token has expired: log in again, or take credentials that renew",
  TokenRefreshRequired: "The session's token has expired: log in again",
  InvalidAccessKeyId: credentialsHint,
  InvalidToken: credentialsHint,
  SignatureDoesNotMatch: credentialsHint,
  CredentialsProviderError: `Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE`,
  RequestTimeTooSkewed: "The clocks of this host and of the server differ: set them",
  NoSuchBucket: "Check the bucket's name. Only `ashlar init` creates one",
  QuotaExceeded: "The quota is used up: raise it, or forget snapshots and run `ashlar prune`",
  InvalidStorageClass: "The server has no such storage class: see -o s3.storage-class",
  ECONNREFUSED: "Is the server running, and is this its port?",
  ENOTFOUND:
    "No such host: check the endpoint's name. If it is the bucket's name before the endpoint's, try -o s3.bucket-lookup=path",
  EPROTO: "The server does not speak TLS there: is it s3:http://…?",
  ERR_TLS_CERT_ALTNAME_INVALID:
    "Use the certificate's own name as the endpoint. If the name is right as it is, somebody may stand between",
  CERT_HAS_EXPIRED: "The server's certificate has expired: it has to be renewed there",
};

/** @param action  "Cannot store data object 3f9a… in s3:…" */
export function failureOf(error: unknown, action: string): Error {
  if (error instanceof StoreError || error instanceof AbortedError) return error;
  const problem = problemOf(error);
  const { code, status } = problem;
  // The SDK's own error holds the answer, the server's may hold parts of what was signed.
  const cause = new Error(`${code} ${printable(problem.message)}`.trim());
  if (code === "NoSuchBucket") {
    return new RepositoryNotFoundError(`${action}: there is no such bucket`, {
      cause,
      hint: hints["NoSuchBucket"]!,
    });
  }
  const redirect = status >= 300 && status < 400 ? targetOf(problem) : undefined;
  if (redirect !== undefined) {
    return new BackendError(`${action}: the server sends us to ${redirect}`, {
      cause,
      hint: "Credentials are not taken there: name that endpoint in the location if it is the right one",
    });
  }
  const retryAfterMs = retryAfter(problem.headers["retry-after"]);
  const hint = hints[code] ?? (isCertificateCode(code) ? certificateHint : statusHint(status));
  const isTemporary =
    temporaryCodes.has(code) || isTemporaryCode(code) || isTemporaryStatus(status);
  return new BackendError(`${action}: ${words(problem)}`, {
    cause,
    temporary: isTemporary,
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    ...(code === "QuotaExceeded" || status === 507 ? { errno: "ENOSPC" } : {}),
    ...(status === 0 && code.startsWith("E") ? { errno: code } : {}),
    ...(hint === undefined ? {} : { hint }),
  });
}

function words({ code, status, message }: S3Problem): string {
  const text = printable(message);
  if (status === 0) return printable(connectionWords(code, message));
  // A HEAD has no body that could say more.
  const isUnknown = (word: string): boolean => ["", "UnknownError", "Unknown"].includes(word);
  const said = isUnknown(text) || text === code ? "" : `: ${text}`;
  const word = isUnknown(code) ? (STATUS_CODES[status] ?? "") : printable(code);
  return `the server answered ${status} ${word}${said}`.trimEnd();
}

function statusHint(status: number): string | undefined {
  if (status === 401 || status === 403) return hints["Forbidden"];
  if (status === 507) return hints["QuotaExceeded"];
  return undefined;
}

function targetOf({ headers, region }: S3Problem): string {
  const unnamed = region === undefined ? "another endpoint" : `region ${printable(region)}`;
  return originOf(headers["location"]) ?? unnamed;
}

function printable(text: string): string {
  return text.replace(/[^ -~]/g, "?").slice(0, 200);
}
