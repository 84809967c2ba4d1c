/**
 * What `-r` names: a folder, or a scheme and what its backend makes of the rest. A backend's code and
 * its packages are loaded when a location names it.
 *
 * Messages here name the scheme alone: the rest of a location may hold a password.
 */
import { resolve } from "node:path";
import { FailedError, UsageError } from "../errors.ts";
import type { Backend, StorageEnvironment } from "./backend.ts";
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

/** @param environment  needed for every scheme but local @throws {RepositoryNotFoundError} {UsageError} */
export async function openStorage(
  location: string,
  environment?: StorageEnvironment,
): Promise<Storage> {
  const parsed = parseLocation(location);
  if (parsed.scheme === "local") return openLocalStorage(parsed.path);
  const backend = await remoteBackends[parsed.scheme]();
  return backend.open(parsed.text, surroundings(parsed.scheme, environment));
}

/** As `openStorage`, for a repository that is to be made. @throws {RepositoryExistsError} */
export async function createStorage(
  location: string,
  environment?: StorageEnvironment,
): Promise<Storage> {
  const parsed = parseLocation(location);
  if (parsed.scheme === "local") return createLocalStorage(parsed.path);
  const backend = await remoteBackends[parsed.scheme]();
  return backend.create(parsed.text, surroundings(parsed.scheme, environment));
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
function surroundings(
  scheme: RemoteScheme,
  environment: StorageEnvironment | undefined,
): StorageEnvironment {
  if (environment === undefined) {
    throw new FailedError(`Cannot open repository ${scheme}:…: no surroundings were passed`, {
      hint: "Pass a StorageEnvironment as second argument",
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
