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

/** A backend's options are its own to know; that one of another scheme is meant is seen here. */
function surroundings(scheme: RemoteScheme, environment: OpenOptions | undefined): OpenOptions {
  if (environment === undefined) {
    throw new FailedError(`Cannot open repository ${scheme}:…: no surroundings were passed`, {
      hint: "Pass OpenOptions as second argument",
    });
  }
  for (const key of Object.keys(environment.options)) {
    if (remoteSchemes.some((known) => key.startsWith(`${known}.`))) continue;
    throw new UsageError(`Cannot use option -o ${key}: no storage has one of that name`, {
      hint: `Their names begin with ${remoteSchemes.map((known) => `${known}.`).join(", ")}`,
    });
  }
  return environment;
}
