/** A file system's errors as those of a storage, with what to do next. */
import { constants } from "node:os";
import { BackendError, StoreError } from "../errors.ts";

/** The system's name for an error: ENOSPC, EACCES, … */
export function errnoOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !("code" in error) || typeof error.code !== "string") {
    return undefined;
  }
  if (!error.code.startsWith("Unknown system error") || !("errno" in error)) return error.code;
  // libuv has no name for some that network file systems answer: ESTALE, EDQUOT.
  const known = Object.entries(constants.errno).find(([, number]) => -number === error.errno);
  return known?.[0] ?? error.code;
}

const hints: Readonly<Record<string, string>> = {
  ENOSPC: "The disk is full: free space, or forget snapshots and run `ashlar prune`",
  EDQUOT: "The quota is used up: raise it, or forget snapshots and run `ashlar prune`",
  EROFS: "The file system is mounted read-only",
  EACCES: "This user may not do this in the repository's folder",
  EPERM: "This user may not do this in the repository's folder",
  ENOENT: "A folder of the repository is gone: was the disk unmounted?",
  EIO: "The disk reports errors: see the kernel's log",
  EMFILE: "Too many open files: raise the limit (ulimit -n)",
};

/** Worth another try later. */
const temporary: ReadonlySet<string> = new Set([
  "EAGAIN",
  "EBUSY",
  "EINTR",
  "EMFILE",
  "ENFILE",
  "ESTALE",
  "ETIMEDOUT",
]);

/** Errors of ours, aborts and Node's refusals of an argument pass as they are. */
export function backendError(error: unknown, action: string): unknown {
  const errno = errnoOf(error);
  if (error instanceof StoreError || errno === undefined || /^(ABORT_ERR|ERR_)/.test(errno))
    return error;
  const words =
    error instanceof Error
      ? (/^[^:]+: ([^,]+),/.exec(error.message)?.[1] ?? error.message)
      : String(error);
  const hint = hints[errno];
  return new BackendError(`${action}: ${words} (${errno})`, {
    cause: error,
    errno,
    temporary: temporary.has(errno),
    ...(hint === undefined ? {} : { hint }),
  });
}
