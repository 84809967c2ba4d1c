/** What `-r` names. This version stores on local file systems; the other forms are kept for what comes. */
import { resolve } from "node:path";
import { UsageError } from "../errors.ts";
import { createLocalStorage, openLocalStorage } from "./local.ts";
import type { Storage } from "./storage.ts";

const otherSchemes = /^(sftp|s3|rest|rclone|b2|azure|gs|swift|nbd)(:|\+)/;

/** @throws {RepositoryNotFoundError} */
export function openStorage(location: string): Promise<Storage> {
  return openLocalStorage(localPath(location));
}

/** @throws {RepositoryExistsError} */
export function createStorage(location: string): Promise<Storage> {
  return createLocalStorage(localPath(location));
}

function localPath(location: string): string {
  const scheme = otherSchemes.exec(location)?.[1];
  if (scheme !== undefined) {
    throw new UsageError(
      `Cannot open repository ${scheme}:…: this version stores on local file systems only`,
      {
        hint: `Name a folder; one whose name begins with "${scheme}:" needs ./ before it`,
      },
    );
  }
  const path = location.startsWith("local:") ? location.slice("local:".length) : location;
  if (path === "")
    throw new UsageError("Cannot open repository: its path is empty", {
      hint: "Give -r REPO or set ASHLAR_REPO",
    });
  return resolve(path);
}
