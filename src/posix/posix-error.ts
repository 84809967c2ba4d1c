/** A failed system call, in the shape of Node's own file errors: `code`, `errno`, `syscall`, `path`. */
import { getSystemErrorMap } from "node:util";

import { printableName } from "../names.ts";

export class PosixError extends Error {
  /** The system's name for it: ENOENT, EPERM, … */
  readonly code: string;
  /** Negative, as Node has it. */
  readonly errno: number;
  readonly syscall: string;
  readonly path: string | undefined;

  constructor(errno: number, syscall: string, path?: string) {
    const [code, words] = getSystemErrorMap().get(-errno) ?? [`E${errno}`, "unknown error"];
    // libuv has this error only from sockets.
    const text = code === "ENOTSUP" ? "operation not supported" : words;
    super(`${code}: ${text}, ${syscall}${path === undefined ? "" : ` '${printableName(path)}'`}`);
    this.name = "PosixError";
    this.code = code;
    this.errno = -errno;
    this.syscall = syscall;
    this.path = path;
  }
}

/** The system's name of an error thrown by this room or by node:fs, else `undefined`. */
export function errnoCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error)) return undefined;
  return typeof error.code === "string" ? error.code : undefined;
}
