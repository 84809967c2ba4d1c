/**
 * What `-r` names: a folder, or a scheme and what its backend makes of the rest. A backend's code and
 * its packages are loaded when a location names it.
 *
 * Messages here name the scheme alone: the rest of a location may hold a password.
 */
import { resolve } from "node:path";
import { FailedError, UsageError } from "../errors.ts";
import type { Backend, StorageEnvironment } from "./backend.ts";
import { layered, type OpenOptions, patiently } from "./layers.ts";
import { createLocalStorage, openLocalStorage } from "./local.ts";
import type { Storage } from "./storage.ts";

const remoteBackends = {
  sftp: async (): Promise<Backend> => (await import("./sftp/index.ts")).sftp,
  s3: async (): Promise<Backend> => (await import("./s3/index.ts")).s3,
  rest: async (): Promise<Backend> => (await import("./rest/index.ts")).rest,
} as const;

export type RemoteScheme = keyof typeof remoteBackends;
const remoteSchemes = Object.keys(remoteBackends) as RemoteScheme[];

/** Of other programs, or what people write when they mean one of ours. */
const otherSchemes = /^(https?|ssh|scp|ftp|rclone|b2|azure|gs|swift|nbd)(?::|\+)/;

export type Location =
  | {
      readonly scheme: "local";
      /** Absolute. */
      readonly path: string;
    }
  /** `text` is the whole, scheme included. */
  | { readonly scheme: RemoteScheme; readonly text: string };

/**
 * @param options  needed for every scheme but local
 * @throws {RepositoryNotFoundError} UsageError, BackendError
 */
export async function openStorage(location: string, options?: OpenOptions): Promise<Storage> {
  return reach(parseLocation(location), options, {
    local: openLocalStorage,
    remote: (backend, text, environment) => backend.open(text, environment),
  });
}

/** As `openStorage`, for a repository that is to be made. @throws {RepositoryExistsError} */
export async function createStorage(location: string, options?: OpenOptions): Promise<Storage> {
  return reach(parseLocation(location), options, {
    local: createLocalStorage,
    remote: (backend, text, environment) => backend.create(text, environment),
  });
}

interface Ways {
  readonly local: (path: string) => Promise<Storage>;
  readonly remote: (
    backend: Backend,
    text: string,
    environment: StorageEnvironment,
  ) => Promise<Storage>;
}

async function reach(
  location: Location,
  options: OpenOptions | undefined,
  ways: Ways,
): Promise<Storage> {
  if (options !== undefined) checkOptions(options.options);
  if (location.scheme === "local") {
    const storage = await ways.local(location.path);
    return options === undefined ? storage : layered(storage, options);
  }
  const environment = surroundings(location.scheme, options);
  const backend = await remoteBackends[location.scheme]();
  const storage = await patiently(environment, () =>
    ways.remote(backend, location.text, environment),
  );
  return layered(storage, environment);
}

/** @throws {UsageError} */
export function parseLocation(location: string): Location {
  const remote = remoteSchemes.find((scheme) => location.startsWith(`${scheme}:`));
  if (remote !== undefined) return { scheme: remote, text: location };
  const other = otherSchemes.exec(location)?.[1];
  if (other !== undefined) throw otherScheme(other);
  const path = location.startsWith("local:") ? location.slice("local:".length) : location;
  if (path === "") {
    throw new UsageError("Cannot use repository: its path is empty", {
      hint: "Give -r REPO or set ASHLAR_REPO",
    });
  }
  return { scheme: "local", path: resolve(path) };
}

function otherScheme(scheme: string): UsageError {
  const meant = {
    ssh: "Write sftp://user@host/path",
    scp: "Write sftp://user@host/path",
    http: "Write rest:http://…, or s3:http://…",
    https: "Write rest:https://…, or s3:https://…",
    rclone: "Run `rclone serve restic REMOTE:` and write rest:http://…",
  }[scheme];
  return new UsageError(
    `Cannot use repository ${scheme}:…: this version stores on local file systems, and by sftp:, s3: and rest:`,
    {
      hint: `${meant ?? "See: docs/operations.md"}. A folder whose name begins with "${scheme}:" needs ./ before it`,
    },
  );
}

function surroundings(scheme: RemoteScheme, environment: OpenOptions | undefined): OpenOptions {
  if (environment !== undefined) return environment;
  throw new FailedError(`Cannot open repository ${scheme}:…: no surroundings were passed`, {
    hint: "Pass OpenOptions as second argument",
  });
}

/**
 * A backend's options are its own to know; here is seen whether any has one of that name, and whether
 * any of the locations, where they are given, is its.
 *
 * @throws {UsageError}
 */
export function checkOptions(
  options: Readonly<Record<string, string>>,
  locations?: readonly string[],
): void {
  for (const key of Object.keys(options)) {
    const scheme = remoteSchemes.find((known) => key.startsWith(`${known}.`));
    if (scheme === undefined) {
      throw new UsageError(`Cannot use option -o ${key}: no storage has one of that name`, {
        hint: `Their names begin with ${remoteSchemes.map((known) => `${known}.`).join(", ")}`,
      });
    }
    if (locations?.every((location) => !location.startsWith(`${scheme}:`)) !== true) continue;
    throw new UsageError(
      `Cannot use option -o ${key}: it is for repositories in ${scheme}:, and none was named`,
      { hint: "Leave it out, or see whether -r or ASHLAR_REPO names the repository that is meant" },
    );
  }
}

/** For messages about what could not be opened: as the storage would call itself, and never with a secret. */
export function locationText(location: string): string {
  const remote = remoteSchemes.find((scheme) => location.startsWith(`${scheme}:`));
  if (remote === undefined) {
    if (otherSchemes.test(location) || location === "") return "a repository that cannot be named";
    return (parseLocation(location) as { readonly path: string }).path;
  }
  const rest = location.slice(remote.length + 1);
  if (!rest.includes("@")) return location;
  // SSH's user is no secret.
  const sshUser = /^(?:\/\/)?[^:@/]+@[^@]+$/;
  if (remote === "sftp" && sshUser.test(rest)) return location;
  if (remote === "rest" && /^https?:/.test(rest) && URL.canParse(rest)) {
    const { protocol, host, pathname } = new URL(rest);
    return `rest:${protocol}//${host}${pathname.endsWith("/") ? pathname : `${pathname}/`}`;
  }
  return `${remote}:…`;
}
