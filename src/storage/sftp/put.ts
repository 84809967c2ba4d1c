/** Puts an object under a name that nobody has taken, whole or not at all. */
import type { Pace } from "../backend.ts";
import { openFlag } from "./packets.ts";
import type { TidyUp } from "./read.ts";
import { type Handle, type SftpSession, StatusError } from "./session.ts";
import { ignoreAbsent } from "./sftp-errors.ts";
import { writeParts } from "./transfer.ts";

/** What the server turned out to be able to do. */
export interface PutWays {
  /** Hard links: FAT and some network file systems have none. */
  canLink: boolean;
  /** Of two racing puts one alone is told `created`. */
  isExclusive: boolean;
}

export interface PutOptions {
  readonly folder: string;
  readonly path: string;
  /** A name that nobody else uses: not every server refuses to open what is there. */
  readonly temporary: string;
  readonly parts: readonly Uint8Array[];
  readonly pace: Pace | undefined;
  readonly signal: AbortSignal | undefined;
  readonly tidyUp: TidyUp;
  /** Removes the temporary, now or when there is a connection again. */
  readonly discard: (temporary: string) => void;
}

/** sftp-server opens a folder like a file, and syncs it: other servers do one of them at most. */
export function canSyncFolders(session: SftpSession): boolean {
  return session.isOpenSsh && session.has("fsync@openssh.com");
}

export async function putObject(
  session: SftpSession,
  ways: PutWays,
  options: PutOptions,
): Promise<"created" | "exists"> {
  const { path, temporary, tidyUp, discard } = options;
  const { file, folder, isTaken } = await openAll(session, options);
  try {
    if (isTaken) {
      tidyUp(session.close(file));
      // When it exists as well: whoever made the object may not have come so far.
      if (folder !== undefined) await session.sync(folder);
      return "exists";
    }
    await writeFile(session, file, options);
    const publishing = publish(session, ways, path, temporary);
    if (folder !== undefined) tidyUp(publishing);
    // Answered in order: the folder is synced after the object has got its name.
    const syncing = folder === undefined ? undefined : session.sync(folder);
    const [isNew] = await Promise.all([publishing, syncing]);
    if (isNew.isLate && folder !== undefined) await session.sync(folder);
    return isNew.isCreated ? "created" : "exists";
  } finally {
    discard(temporary);
    if (folder !== undefined) tidyUp(session.close(folder));
  }
}

interface Opened {
  readonly file: Handle;
  readonly folder: Handle | undefined;
  readonly isTaken: boolean;
}

async function openAll(session: SftpSession, options: PutOptions): Promise<Opened> {
  const { folder, path, temporary, tidyUp, discard } = options;
  const opening = session.open(
    temporary,
    openFlag.write | openFlag.create | openFlag.exclusive,
    0o400,
  );
  const openingFolder = canSyncFolders(session) ? session.openFolderAsFile(folder) : undefined;
  try {
    const [file, folderHandle, found] = await Promise.all([
      opening,
      openingFolder,
      session.stat(path).catch(ignoreAbsent),
    ]);
    return { file, folder: folderHandle, isTaken: found !== undefined };
  } catch (error) {
    for (const handle of [opening, openingFolder])
      if (handle !== undefined) tidyUp(handle.then((opened) => session.close(opened)));
    discard(temporary);
    throw error;
  }
}

/** Closes the file as well: some servers, that store elsewhere, tell only then that they could not. */
async function writeFile(session: SftpSession, file: Handle, options: PutOptions): Promise<void> {
  const { parts, tidyUp } = options;
  const hasSync = session.has("fsync@openssh.com");
  try {
    await writeParts(session, file, parts, options, async () => {
      // Answered in order, so it need not wait for the answers to the writes.
      if (hasSync && session.isOpenSsh) await session.sync(file);
    });
    if (hasSync && !session.isOpenSsh) await session.sync(file);
  } catch (error) {
    tidyUp(session.close(file));
    throw error;
  }
  if (session.isOpenSsh) tidyUp(session.close(file));
  else await session.close(file);
}

/** Gives the temporary its name. `isLate`: not by the first request that was sent. */
async function publish(
  session: SftpSession,
  ways: PutWays,
  path: string,
  temporary: string,
): Promise<{ readonly isCreated: boolean; readonly isLate: boolean }> {
  const isTaken = async (): Promise<boolean> =>
    (await session.stat(path).catch(ignoreAbsent)) !== undefined;
  let isLate = false;
  if (session.isOpenSsh && session.has("hardlink@openssh.com") && ways.canLink) {
    try {
      await session.link(temporary, path);
      return { isCreated: true, isLate };
    } catch (error) {
      if (!(error instanceof StatusError)) throw error;
      if (await isTaken()) return { isCreated: false, isLate };
      // As on FAT: sftp-server's rename does without links too, but then looks first.
      ways.canLink = false;
      ways.isExclusive = false;
      isLate = true;
    }
  }
  // rclone's rename replaces what is there, by draft-ietf-secsh-filexfer none should.
  if (!session.isOpenSsh && (await isTaken())) return { isCreated: false, isLate };
  try {
    await session.rename(temporary, path);
    return { isCreated: true, isLate };
  } catch (error) {
    if (error instanceof StatusError && (await isTaken())) return { isCreated: false, isLate };
    throw error;
  }
}
