/** Reading the file of `--changed-map` (docs/changed-map.md). */
import { readFileSync, statSync } from "node:fs";
import { UsageError } from "../errors.ts";
import type { BackupOptions } from "../repo/index.ts";

const mapBytesMax = 256 << 20;

export interface ChangedMap {
  readonly changes: NonNullable<BackupOptions["changes"]>;
  /** The snapshot that the ranges are counted from. */
  readonly since: string | undefined;
}

/** @throws {UsageError} when it is not such a file */
export function readChangedMap(path: string): ChangedMap {
  const refuse = (reason: string): never => {
    throw new UsageError(`Cannot read changed map ${path}: ${reason}`, {
      hint: 'It looks like {"version":1,"size":BYTES,"ranges":[{"offset":0,"length":65536}]}; see docs/changed-map.md',
    });
  };
  let value: unknown;
  try {
    if (statSync(path).size > mapBytesMax) refuse("it is larger than 256 MiB");
    value = JSON.parse(readFileSync(path, "utf8"));
  } catch (error) {
    if (error instanceof UsageError) throw error;
    return refuse(error instanceof Error ? error.message : String(error));
  }
  const { version, size, ranges, since } = fieldsOf(value);
  if (version !== 1) return refuse("its version is not 1");
  if (!isCount(size)) return refuse("its size is no number of bytes");
  if (!Array.isArray(ranges)) return refuse("it has no list of ranges");
  if (since !== undefined && typeof since !== "string") return refuse("its since is no text");
  const checked = ranges.map((range: unknown, index) => {
    const { offset, length } = fieldsOf(range);
    if (isCount(offset) && isCount(length)) return { offset, length };
    return refuse(`range ${index} has no offset and length in bytes`);
  });
  return { changes: { size, ranges: checked }, since };
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? { ...value } : {};
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
}
