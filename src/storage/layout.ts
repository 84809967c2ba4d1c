/**
 * How a file system holds objects, near or behind SFTP: one layout, so that either reads the other's.
 *
 *   config   keys/NAME   data/XX/NAME   index/NAME   snapshots/NAME   locks/NAME      (XX: NAME's first two digits)
 */
import { assert } from "../errors.ts";
import { configName, type ObjectKind } from "./storage.ts";

export const shards = Array.from({ length: 256 }, (_, n) => n.toString(16).padStart(2, "0"));

/** Below the repository's own; parents come first. */
export const folders = [
  ...["keys", "data", "index", "snapshots", "locks"],
  ...shards.map((shard) => `data/${shard}`),
];

/** Of files that are being written: what does not bear an object's name is never listed. */
export const temporaryPrefix = "tmp-";

const objectName = /^[0-9a-f]{64}$/;

export function isObjectName(name: string): boolean {
  return objectName.test(name);
}

/** Relative to the repository; "" for its own. @throws {BugError} */
export function folderOf(kind: ObjectKind, name: string): string {
  const isObject = kind === "config" ? name === configName : isObjectName(name);
  assert(isObject, `an object is named by 64 hexadecimal digits, not ${name}`);
  if (kind === "config") return "";
  return kind === "data" ? `data/${name.slice(0, 2)}` : kind;
}

/** The folders that may hold objects of a kind whose names begin with `prefix`. */
export function foldersToList(kind: Exclude<ObjectKind, "config">, prefix: string): string[] {
  if (kind !== "data") return [kind];
  return shards
    .filter((shard) => prefix.startsWith(shard) || shard.startsWith(prefix))
    .map((shard) => `data/${shard}`);
}
