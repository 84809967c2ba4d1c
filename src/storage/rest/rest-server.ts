/** What a `rest:` location and its options say of the server. Credentials are taken out here, and never shown. */
import { readFile } from "node:fs/promises";
import { FailedError, UsageError } from "../../errors.ts";
import type { StorageEnvironment } from "../backend.ts";

export interface RestServer {
  readonly isTls: boolean;
  readonly hostname: string;
  readonly port: number;
  /** Instead of host and port: a Unix socket. */
  readonly socketPath: string | undefined;
  /** Begins and ends with a slash; encoded as in a URL. */
  readonly basePath: string;
  /** Without user and password. */
  readonly display: string;
  /** The header's value. */
  readonly authorization: string | undefined;
  /** PEM */
  readonly ca: Uint8Array | undefined;
  readonly certificate: Uint8Array | undefined;
  readonly key: Uint8Array | undefined;
  readonly connectionsMax: number;
  readonly connectTimeoutMs: number;
  /** A connection on which nothing moves for so long is given up. */
  readonly idleTimeoutMs: number;
}

const optionNames = [
  "rest.cacert",
  "rest.client-cert",
  "rest.client-key",
  "rest.connections",
  "rest.connect-timeout",
  "rest.timeout",
];

const forms = "rest:https://host:port/path or rest:http+unix:///path/of/socket:/path";

/** @throws {UsageError} {FailedError} when a certificate cannot be read */
export async function parseServer(
  location: string,
  { env, options, warn }: StorageEnvironment,
): Promise<RestServer> {
  for (const name of Object.keys(options)) {
    if (name.startsWith("rest.") && !optionNames.includes(name))
      throw new UsageError(`Unknown option -o ${name}`, {
        hint: `There are ${optionNames.join(", ")}`,
      });
  }
  const { url, socketPath } = parseUrl(location.replace(/^rest:/, ""));
  const isTls = url.protocol === "https:";
  const user = decoded(url.username) || (env["ASHLAR_REST_USERNAME"] ?? "");
  const password = decoded(url.password) || (env["ASHLAR_REST_PASSWORD"] ?? "");
  const hostname = url.hostname.replace(/^\[|\]$/g, "");
  const basePath = url.pathname.endsWith("/") ? url.pathname : `${url.pathname}/`;
  const authorization =
    user === "" && password === ""
      ? undefined
      : `Basic ${Buffer.from(`${user}:${password}`, "utf8").toString("base64")}`;
  const place =
    socketPath === undefined ? `${url.protocol}//${url.host}` : `http+unix://${socketPath}:`;
  const display = `rest:${place}${basePath}`;
  if (authorization !== undefined && !isTls && socketPath === undefined && !isLoopback(hostname))
    warn(`The password for ${display} goes over the network in the clear: use rest:https://…`);
  const certificate = await readPem(options["rest.client-cert"], "rest.client-cert");
  const key = await readPem(options["rest.client-key"], "rest.client-key");
  if ((certificate === undefined) !== (key === undefined))
    throw new UsageError(
      "Cannot use one of rest.client-cert and rest.client-key without the other",
    );
  return {
    isTls,
    hostname,
    port: url.port === "" ? (isTls ? 443 : 80) : Number(url.port),
    socketPath,
    basePath,
    display,
    authorization,
    ca: await readPem(options["rest.cacert"], "rest.cacert"),
    certificate,
    key,
    connectionsMax: numberOption(options, "rest.connections", 16, 128),
    connectTimeoutMs: numberOption(options, "rest.connect-timeout", 30, 3600) * 1000,
    idleTimeoutMs: numberOption(options, "rest.timeout", 60, 3600) * 1000,
  };
}

/** Node's own error would quote the URL, and the password in it. */
function parseUrl(text: string): { url: URL; socketPath: string | undefined } {
  const bad = (why: string): UsageError =>
    new UsageError(`Cannot use repository rest:…: ${why}`, { hint: `Write ${forms}` });
  const socket = /^http\+unix:\/\/(\/[^:]+):(\/.*)$/.exec(text);
  const target = socket === null ? text : `http://localhost${socket[2]!}`;
  if (!URL.canParse(target)) throw bad("it is not a URL");
  const url = new URL(target);
  if (url.protocol !== "http:" && url.protocol !== "https:")
    throw bad("it is not of http or https");
  if (url.search !== "" || url.hash !== "") throw bad("a repository's URL has no ? and no #");
  return { url, socketPath: socket?.[1] };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw new UsageError(
      "Cannot use repository rest:…: a % in its user or password encodes nothing",
      {
        hint: "Write % as %25, or set ASHLAR_REST_USERNAME and ASHLAR_REST_PASSWORD",
      },
    );
  }
}

function isLoopback(hostname: string): boolean {
  return hostname === "localhost" || hostname === "::1" || /^127(\.\d+){3}$/.test(hostname);
}

async function readPem(path: string | undefined, option: string): Promise<Uint8Array | undefined> {
  if (path === undefined) return undefined;
  try {
    return await readFile(path);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new FailedError(`Cannot read ${path} (-o ${option}): ${why}`, { cause: error });
  }
}

function numberOption(
  options: Readonly<Record<string, string>>,
  name: string,
  byDefault: number,
  max: number,
): number {
  const text = options[name];
  if (text === undefined) return byDefault;
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= 1 && value <= max) return value;
  throw new UsageError(`Cannot read -o ${name}=${text}: it takes a whole number from 1 to ${max}`);
}
