/** What an SFTP server refuses, as errors of a storage. */
import { BackendError } from "../../errors.ts";
import { statusCode } from "./packets.ts";
import { ConnectionLost, type SftpSession, StatusError } from "./session.ts";

const roomBytesMin = 32 * 1024 * 1024;

/** Undefined in place of an object, or folder, that is not there. */
export function ignoreAbsent(error: unknown): undefined {
  if (!(error instanceof StatusError) || error.status !== statusCode.noSuchFile) throw error;
  return undefined;
}

/** Errors of ours and aborts pass as they are. */
export function sftpError(error: unknown, action: string): unknown {
  if (error instanceof ConnectionLost) {
    return new BackendError(`${action}: ${error.message}`, { cause: error, temporary: true });
  }
  if (!(error instanceof StatusError)) return error;
  const { status, message } = error;
  const options = { cause: error };
  switch (status) {
    case statusCode.noSuchFile:
      return new BackendError(`${action}: no such file (ENOENT)`, {
        ...options,
        errno: "ENOENT",
        hint: "A folder of the repository is gone: was the server's disk unmounted?",
      });
    case statusCode.permissionDenied:
      return new BackendError(`${action}: permission denied (EACCES)`, {
        ...options,
        errno: "EACCES",
        hint: "This user may not do this in the repository's folder, or the server forbids the request",
      });
    case statusCode.unsupported:
      return new BackendError(`${action}: the server does not know the request`, options);
    default:
      return isFull(message)
        ? full(action, error)
        : new BackendError(`${action}: the server says: ${printable(message)}`, {
            ...options,
            temporary: true,
            hint: "SFTP has no words for most causes: the server's log may tell, or a quota",
          });
  }
}

/** As `sftpError`; asks the server whether its disk is full, which its answer does not say. */
export async function putError(
  error: unknown,
  action: string,
  session: SftpSession,
  put: { readonly folder: string; readonly bytes: number },
): Promise<unknown> {
  const isVague = error instanceof StatusError && error.status === statusCode.failure;
  if (!isVague || !session.has("statvfs@openssh.com")) return sftpError(error, action);
  const space = await session.space(put.folder).catch(() => undefined);
  if (space?.isReadOnly === true) {
    return new BackendError(`${action}: read-only file system (EROFS)`, {
      cause: error,
      errno: "EROFS",
      hint: "The server's file system is mounted read-only",
    });
  }
  // What the server has written of the file is free again by now, or soon will be.
  const isFullNow =
    space !== undefined &&
    (space.freeFiles === 0 || space.freeBytes < Math.max(roomBytesMin, 2 * put.bytes));
  return isFullNow ? full(action, error) : sftpError(error, action);
}

function full(action: string, cause: unknown): BackendError {
  return new BackendError(`${action}: no space left on the server's disk (ENOSPC)`, {
    cause,
    errno: "ENOSPC",
    hint: "Free space there, or forget snapshots and run `ashlar prune`",
  });
}

function isFull(message: string): boolean {
  return /no space left|disk full|quota/i.test(message);
}

/** A server's words, without what would steer a terminal. */
function printable(message: string): string {
  return message.replace(/[^\x20-\x7e]+/g, " ").slice(0, 200);
}
