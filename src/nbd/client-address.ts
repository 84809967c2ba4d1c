/**
 * NBD URIs: where a server is, and which of its exports is meant.
 *
 *     nbd://host[:port]/export      nbd+unix:///export?socket=PATH
 *     nbds://host[:port]/export     nbds+unix:///export?socket=PATH
 *
 * With TLS also tls-certificates=FOLDER (ca-cert.pem, client-cert.pem, client-key.pem), tls-psk-file=FILE,
 * tls-hostname=NAME and tls-username=NAME, as libnbd has them.
 *
 * @see https://github.com/NetworkBlockDevice/nbd/blob/master/doc/uri.md
 */
import { UsageError } from "../errors.ts";
import { nbdNameBytesMax } from "./protocol-constants.ts";

export type NbdPlace =
  | { readonly kind: "tcp"; readonly host: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string };

export interface NbdTlsFiles {
  readonly certificates?: string;
  readonly pskFile?: string;
  readonly hostname?: string;
  readonly username?: string;
}

export interface NbdAddress {
  readonly place: NbdPlace;
  readonly exportName: string;
  /** Undefined: in the clear, which is for this machine and its own networks. */
  readonly tls?: NbdTlsFiles;
}

const defaultPort = 10809;
const schemes = /^(nbds?)(\+unix)?:\/\//i;
const known = new Set([
  "socket",
  "tls-certificates",
  "tls-psk-file",
  "tls-hostname",
  "tls-username",
]);

export function isNbdUri(text: string): boolean {
  return schemes.test(text);
}

/** @throws {UsageError} when it is no NBD URI, or says what is not understood */
export function parseNbdUri(text: string): NbdAddress {
  const scheme = schemes.exec(text);
  // libnbd's users write a name before no host; URLs as such have none without a host.
  const whole = text.replace(/^(nbds?\+unix:\/\/[^@/?#]+@)\//i, "$1localhost/");
  const url = URL.canParse(whole) ? new URL(whole) : undefined;
  if (scheme === null || url === undefined) throw refusal(text, "it is not an NBD URI");
  const parameter = (name: string): string | undefined => url.searchParams.get(name) ?? undefined;
  for (const name of url.searchParams.keys())
    if (!known.has(name)) throw refusal(text, `"${name}" is not a parameter of it`);
  if (url.password !== "") throw refusal(text, "a password has no place in it");
  const exportName = decoded(text, url.pathname.replace(/^\//, ""));
  if (Buffer.byteLength(exportName) > nbdNameBytesMax)
    throw refusal(text, "the export's name is too long");
  const socket = parameter("socket");
  const isUnix = scheme[2] !== undefined;
  if (isUnix && socket === undefined) throw refusal(text, "it needs ?socket=PATH");
  if (!isUnix && socket !== undefined) throw refusal(text, "?socket= belongs to nbd+unix://");
  if (!isUnix && url.hostname === "") throw refusal(text, "it names no host");
  const place: NbdPlace = isUnix
    ? { kind: "unix", path: socket! }
    : {
        kind: "tcp",
        host: decoded(text, url.hostname.replace(/^\[(.*)\]$/, "$1")),
        port: url.port === "" ? defaultPort : Number(url.port),
      };
  if (scheme[1]!.toLowerCase() === "nbd") {
    const tlsWord = [...url.searchParams.keys()].find((name) => name.startsWith("tls-"));
    if (tlsWord !== undefined) throw refusal(text, `${tlsWord} belongs to nbds://`);
    return { place, exportName };
  }
  const certificates = parameter("tls-certificates");
  const pskFile = parameter("tls-psk-file");
  const hostname = parameter("tls-hostname");
  const username = parameter("tls-username") ?? (url.username === "" ? undefined : url.username);
  if (certificates !== undefined && pskFile !== undefined)
    throw refusal(text, "tls-certificates and tls-psk-file exclude each other");
  return {
    place,
    exportName,
    tls: {
      ...(certificates === undefined ? {} : { certificates }),
      ...(pskFile === undefined ? {} : { pskFile }),
      ...(hostname === undefined ? {} : { hostname }),
      ...(username === undefined ? {} : { username: decoded(text, username) }),
    },
  };
}

/** For messages: where it is, without the parameters. */
export function printableAddress({ place, exportName, tls }: NbdAddress): string {
  const scheme = tls === undefined ? "nbd" : "nbds";
  return place.kind === "unix"
    ? `${scheme}+unix:///${exportName}?socket=${place.path}`
    : `${scheme}://${place.host.includes(":") ? `[${place.host}]` : place.host}:${place.port}/${exportName}`;
}

function decoded(text: string, part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw refusal(text, "a % in it is not followed by two hexadecimal digits");
  }
}

function refusal(text: string, reason: string): UsageError {
  return new UsageError(`Cannot read ${text}: ${reason}`, {
    hint: "Write nbd://HOST:PORT/EXPORT, nbd+unix:///EXPORT?socket=PATH, or nbds:// with TLS",
  });
}
