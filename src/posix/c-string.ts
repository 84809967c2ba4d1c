/** Names and paths as C wants them: bytes that end with a NUL. */
import { constants } from "node:os";

import { nameFromBytes, nameToBytes } from "../names.ts";
import { PosixError } from "./posix-error.ts";

/** Bytes, or a string as in src/names.ts. */
export type BytePath = string | Uint8Array;

/** @throws {PosixError} EINVAL when a NUL would cut the path short */
export function cString(path: BytePath, syscall: string): Buffer {
  const bytes = typeof path === "string" ? nameToBytes(path) : path;
  if (bytes.includes(0))
    throw new PosixError(constants.errno.EINVAL, syscall, nameFromBytes(bytes));
  const terminated = Buffer.allocUnsafe(bytes.length + 1);
  terminated.set(bytes);
  terminated[bytes.length] = 0;
  return terminated;
}

/**
 * As `cString`, for the name of an entry in a directory: one component that stays there.
 *
 * @throws {PosixError} EINVAL for an empty name, `.`, `..` and names with a slash, which could lead elsewhere
 */
export function entryName(name: BytePath, syscall: string): Buffer {
  const terminated = cString(name, syscall);
  const text = terminated.toString("latin1", 0, terminated.length - 1);
  if (text === "" || text === "." || text === ".." || text.includes("/")) {
    throw new PosixError(
      constants.errno.EINVAL,
      syscall,
      nameFromBytes(terminated.subarray(0, -1)),
    );
  }
  return terminated;
}
