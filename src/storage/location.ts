/** What `-r` names. This version stores on local file systems; the other forms are kept for what comes. */
import { resolve } from "node:path";
import { UsageError } from "../errors.ts";
import { createLocalStorage, openLocalStorage } from "./local.ts";
import type { Storage } from "./storage.ts";

const otherSchemes = /^(sftp|s3|rest|rclone|b2|azure|gs|swift|nbd)(:|\+)/;

/** A place that this version can store in. */
export interface Location {
  readonly scheme: "local";
  /** Absolute. */
  readonly path: string;
}

/** @throws {RepositoryNotFoundError} */
export async function openStorage(location: string): Promise<Storage> {
  return openLocalStorage(parseLocation(location).path);
}

/** @throws {RepositoryExistsError} */
export async function createStorage(location: string): Promise<Storage> {
  return createLocalStorage(parseLocation(location).path);
}

/** The message names the scheme alone: the rest may hold a password. @throws {UsageError} */
export function parseLocation(location: string): Location {
  const scheme = otherSchemes.exec(location)?.[1];
  if (scheme !== undefined) {
    throw new UsageError(
      `Cannot use repository ${scheme}:…: this version stores on local file systems only`,
      {
        hint: `Name a folder; one whose name begins with "${scheme}:" needs ./ before it`,
      },
    );
  }
  const path = location.startsWith("local:") ? location.slice("local:".length) : location;
  if (path === "") {
    throw new UsageError("Cannot use repository: its path is empty", {
      hint: "Give -r REPO or set ASHLAR_REPO",
    });
  }
  return { scheme: "local", path: resolve(path) };
}
