/**
 * `sftp://user@host:port/path` and restic's `sftp:user@host:path`.
 *
 * In a URL the path is absolute, as in git's; `/~/path` begins at the folder that the server gives a
 * login. In restic's form a path without `/` before it begins there.
 */
import { UsageError } from "../../errors.ts";

export interface SftpLocation {
  /** Undefined: ~/.ssh/config, then this host's user. */
  readonly user: string | undefined;
  /** A name or an address, or an alias in ~/.ssh/config. */
  readonly host: string;
  readonly port: number | undefined;
  /** Absolute, or relative to the folder that a login begins in; without a `/` at its end. */
  readonly path: string;
  /** As given, in one form; shows in messages. */
  readonly text: string;
}

/** @throws {UsageError} which does not show the location, for it may hold a password */
export function parseSftpLocation(location: string): SftpLocation {
  return location.startsWith("sftp://") ? fromUrl(location) : fromRestic(location);
}

/** `[user@]host[:port]` of ProxyJump; brackets around an IPv6 address. */
export function parseEndpoint(
  text: string,
): Pick<SftpLocation, "user" | "host" | "port"> | undefined {
  const found = /^(?:(.+)@)?(\[[0-9a-fA-F:.%]+\]|[^@:/[\]\s]+)(?::(\d{1,5}))?$/.exec(text);
  if (found === null) return undefined;
  const [, user, host = "", digits] = found;
  const port = digits === undefined ? undefined : Number(digits);
  // A name with a leading dash is an option to whatever program it is handed to, as in our own hints.
  if (host.startsWith("-") || (port !== undefined && (port < 1 || port > 65_535))) return undefined;
  return { user, host: host.replace(/^\[|\]$/g, ""), port };
}

function fromUrl(location: string): SftpLocation {
  const found = /^sftp:\/\/([^/]*)(\/.*)?$/s.exec(location);
  const [, authority = "", rest = ""] = found ?? [];
  const at = authority.lastIndexOf("@");
  if (at >= 0 && authority.slice(0, at).includes(":")) {
    throw new UsageError("Cannot use repository sftp://…: its URL holds a password", {
      hint: "Log in by key: `ssh-keygen`, then `ssh-copy-id USER@HOST`. Others see a password in a command line",
    });
  }
  const userPart = at < 0 ? "" : `${decoded(authority.slice(0, at))}@`;
  const endpoint = parseEndpoint(userPart + authority.slice(at + 1));
  if (endpoint === undefined) throw unreadable();
  const path = decoded(rest);
  return located(endpoint, path.startsWith("/~/") ? path.slice(3) : path);
}

function fromRestic(location: string): SftpLocation {
  const found = /^sftp:((?:[^/]*@)?(?:\[[^\]/]*\]|[^:/@[\]]+)):(.*)$/s.exec(location);
  const endpoint = parseEndpoint(found?.[1] ?? "");
  if (found === null || endpoint === undefined) throw unreadable();
  if (endpoint.user?.includes(":") === true) throw unreadable();
  return located(endpoint, found[2]!.replace(/^~\//, ""));
}

function located(
  endpoint: Pick<SftpLocation, "user" | "host" | "port">,
  path: string,
): SftpLocation {
  const { user, host, port } = endpoint;
  const clean = path.replace(/\/+/g, "/").replace(/(?<=.)\/$/, "");
  if (clean === "" || clean.includes("\0")) throw unreadable();
  const userText = user === undefined ? "" : `${user}@`;
  const hostText = host.includes(":") ? `[${host}]` : host;
  const portText = port === undefined ? "" : `:${port}`;
  const pathText = clean.startsWith("/") ? clean : `/~/${clean}`;
  return {
    user,
    host,
    port,
    path: clean,
    text: `sftp://${userText}${hostText}${portText}${pathText}`,
  };
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw unreadable();
  }
}

function unreadable(): UsageError {
  return new UsageError("Cannot use repository sftp:…: it is not of the form that SFTP needs", {
    hint: "Write sftp://USER@HOST:PORT/PATH, or sftp:USER@HOST:PATH",
  });
}
