/**
 * Objects behind an SFTP server, laid out as on a local file system (layout.ts): a repository may be
 * moved between the two as it is.
 *
 * put = a temporary name, fsync, a hard link under the object's name, fsync of the folder. What a server
 * lacks of these is done without, and `traits` says so.
 */
import { mapConcurrent } from "../../async.ts";
import { CorruptionError, RepositoryExistsError, RepositoryNotFoundError } from "../../errors.ts";
import type { Pace } from "../backend.ts";
import { folderOf, folders, foldersToList, isObjectName, temporaryPrefix } from "../layout.ts";
import {
  type ByteRange,
  configName,
  type ObjectInfo,
  type ObjectKind,
  type Storage,
  type StorageCall,
  type StorageTraits,
  objectText,
} from "../storage.ts";
import type { Attributes } from "./packets.ts";
import { makeFolders } from "./make-folders.ts";
import { canSyncFolders, putObject, type PutWays } from "./put.ts";
import { readEntries, readObject, type ReadOptions } from "./read.ts";
import { ConnectionLost, type RoundCounter, type SftpSession } from "./session.ts";
import type { SftpSessions } from "./sessions.ts";
import { ignoreAbsent, putError, sftpError } from "./sftp-errors.ts";
import { unlessAborted } from "./transfer.ts";

const foldersInFlight = 128;
/** A transfer of this much is worth a session of its own. */
const longTransferBytes = 1024 * 1024;
/** What is left to tidy up when the storage is closed may take so long. */
const closingMsMax = 2000;

export interface SftpStorageOptions {
  /** For messages. */
  readonly location: string;
  /** Absolute, or relative to the folder that a login begins in. */
  readonly root: string;
  readonly sessions: SftpSessions;
  readonly random: () => number;
  readonly pace?: Pace | undefined;
}

export class SftpStorage implements Storage {
  readonly location: string;
  readonly #root: string;
  readonly #sessions: SftpSessions;
  readonly #random: () => number;
  readonly #pace: Pace | undefined;
  readonly #leftBehind = new Set<string>();
  readonly #tidying = new Set<Promise<unknown>>();
  /** Until a server says otherwise. */
  readonly #ways: PutWays = { canLink: true, isExclusive: true };
  /** What `open` has asked for and nobody has taken yet. */
  #config: Promise<Uint8Array> | undefined;

  private constructor(options: SftpStorageOptions) {
    this.location = options.location;
    this.#root = options.root;
    this.#sessions = options.sessions;
    this.#random = options.random;
    this.#pace = options.pace;
  }

  /**
   * Opens what `init` has made, and makes nothing. Whether there is a repository is told by the first
   * `get` of its config, which is on its way when this returns: far away, an answer less to wait for.
   */
  static async open(options: SftpStorageOptions): Promise<SftpStorage> {
    const storage = new SftpStorage(options);
    await storage.#begin(`Cannot open repository ${storage.location}`, () => Promise.resolve());
    storage.#config = storage.#readConfig();
    storage.#config.catch(() => undefined);
    return storage;
  }

  /** Makes the folders of a new repository. @throws {RepositoryExistsError} {BackendError} */
  static async create(options: SftpStorageOptions): Promise<SftpStorage> {
    const storage = new SftpStorage(options);
    await storage.#begin(`Cannot create repository ${storage.location}`, async (session) => {
      if ((await storage.#look(session, storage.#at(configName))) !== undefined) {
        throw new RepositoryExistsError(
          `Cannot create repository ${storage.location}: there is one already`,
          { hint: "Use it, or choose another place" },
        );
      }
      await makeFolders(session, options.root);
      for (const path of ["data", ""]) await storage.#syncFolder(session, path);
    });
    return storage;
  }

  get traits(): StorageTraits {
    return { conditionalPut: this.#ways.isExclusive, local: false, paced: true };
  }

  /** Requests so far, and how many of them had to wait for one another. */
  get counter(): RoundCounter {
    return this.#sessions.counter;
  }

  put(
    kind: ObjectKind,
    name: string,
    parts: readonly Uint8Array[],
    call?: StorageCall,
  ): Promise<"created" | "exists"> {
    const bytes = parts.reduce((sum, part) => sum + part.length, 0);
    const what = `Cannot store ${objectText(kind, name)} in ${this.location}`;
    return this.#act(what, bytes >= longTransferBytes, call, async (session) => {
      const path = this.#at(pathOf(kind, name));
      const folder = path.slice(0, path.lastIndexOf("/"));
      for (const left of this.#leftBehind) this.#discard(session, left);
      try {
        return await putObject(session, this.#ways, {
          folder,
          path,
          temporary: `${folder}/${temporaryPrefix}${this.#word()}${this.#word()}`,
          parts,
          pace: this.#pace,
          signal: call?.signal,
          tidyUp: this.#tidyUp,
          discard: (temporary) => {
            this.#discard(session, temporary);
          },
        });
      } catch (error) {
        throw await putError(error, what, session, { folder, bytes });
      }
    });
  }

  get(
    kind: ObjectKind,
    name: string,
    range?: ByteRange,
    call?: StorageCall & { readonly into?: Uint8Array },
  ): Promise<Uint8Array | undefined> {
    const what = `Cannot read ${objectText(kind, name)} from ${this.location}`;
    const isLong = (range?.length ?? 0) >= longTransferBytes;
    const config = this.#config;
    if (kind === "config" && config !== undefined && range === undefined) {
      this.#config = undefined;
      if (call?.into === undefined) return unlessAborted(call?.signal, config);
    }
    return this.#act(what, isLong, call, async (session) => {
      const path = this.#at(pathOf(kind, name));
      try {
        const bytes = await readObject(session, path, range, this.#readOptions(call));
        if (bytes === undefined) await this.#assertPresent(session);
        return bytes;
      } catch (error) {
        if (!(error instanceof CorruptionError)) throw error;
        throw new CorruptionError(`Cannot read ${objectText(kind, name)}: ${error.message}`, {
          hint: "See: ashlar check",
        });
      }
    });
  }

  async *list(
    kind: ObjectKind,
    call?: StorageCall & { readonly prefix?: string },
  ): AsyncGenerator<ObjectInfo> {
    call?.signal?.throwIfAborted();
    const prefix = call?.prefix ?? "";
    if (kind === "config") {
      const info = await this.stat(kind, configName, call);
      if (info !== undefined && configName.startsWith(prefix)) yield info;
      return;
    }
    const what = `Cannot list ${kind} objects of ${this.location}`;
    const listings = mapConcurrent(foldersToList(kind, prefix), foldersInFlight, (folder) =>
      this.#act(what, false, call, async (session) => {
        const entries = await readEntries(session, this.#at(folder), this.#tidyUp);
        return entries.filter(
          ({ name, isFile }) =>
            isFile &&
            isObjectName(name) &&
            name.startsWith(prefix) &&
            folderOf(kind, name) === folder,
        );
      }),
    );
    for await (const entries of listings) {
      for (const { name, size, modified } of entries)
        yield { name, size, storedMs: modified * 1000 };
    }
  }

  stat(kind: ObjectKind, name: string, call?: StorageCall): Promise<ObjectInfo | undefined> {
    const what = `Cannot look at ${objectText(kind, name)} in ${this.location}`;
    return this.#act(what, false, call, async (session) => {
      const info = await this.#look(session, this.#at(pathOf(kind, name)));
      if (info === undefined) await this.#assertPresent(session);
      return info?.isFile === true ? { name, size: info.size } : undefined;
    });
  }

  delete(kind: ObjectKind, name: string, call?: StorageCall): Promise<boolean> {
    const what = `Cannot delete ${objectText(kind, name)} from ${this.location}`;
    return this.#act(what, false, call, async (session) => {
      const isGone = await this.#remove(session, pathOf(kind, name));
      if (!isGone) await this.#assertPresent(session);
      await this.#syncFolder(session, folderOf(kind, name));
      return isGone;
    });
  }

  /** By the times that the server gives files; a temporary that is a link to an object counts as freed. */
  async removeStaleTemporaries(before: number): Promise<number> {
    const what = `Cannot clean up repository ${this.location}`;
    const sweeps = mapConcurrent(["", ...folders], foldersInFlight, (folder) =>
      this.#act(what, false, undefined, async (session) => {
        let freed = 0;
        for (const { name, size, modified, isFile } of await readEntries(
          session,
          this.#at(folder),
          this.#tidyUp,
        )) {
          if (!isFile || !name.startsWith(temporaryPrefix) || modified * 1000 >= before) continue;
          const isGone = await this.#remove(session, folder === "" ? name : `${folder}/${name}`);
          if (isGone) freed += size;
        }
        return freed;
      }),
    );
    let freed = 0;
    for await (const bytes of sweeps) freed += bytes;
    return freed;
  }

  async close(): Promise<void> {
    const tidied = Promise.allSettled(this.#tidying);
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise((resolve) => {
      timer = setTimeout(resolve, closingMsMax);
    });
    await Promise.race([tidied, late]);
    clearTimeout(timer);
    await this.#sessions.close();
  }

  /** @throws {RepositoryNotFoundError} */
  #readConfig(): Promise<Uint8Array> {
    const what = `Cannot open repository ${this.location}`;
    return this.#act(what, false, undefined, async (session) => {
      const bytes = await readObject(
        session,
        this.#at(configName),
        undefined,
        this.#readOptions(undefined),
      );
      if (bytes !== undefined) return bytes;
      throw new RepositoryNotFoundError(`${what}: there is none`, {
        hint: "Check the path: after sftp://HOST it is absolute, after sftp://HOST/~/ it begins where the login does. Only `ashlar init` creates a repository",
      });
    });
  }

  async #begin(what: string, act: (session: SftpSession) => Promise<void>): Promise<void> {
    try {
      await this.#act(what, false, undefined, act);
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  async #act<T>(
    what: string,
    isLong: boolean,
    call: StorageCall | undefined,
    act: (session: SftpSession) => Promise<T>,
  ): Promise<T> {
    call?.signal?.throwIfAborted();
    try {
      const acting = this.#sessions.use(isLong, async (session) => {
        call?.signal?.throwIfAborted();
        // Others' rename may replace what is there: OpenSSH's is a link and an unlink.
        if (!session.isOpenSsh) this.#ways.isExclusive = false;
        return act(session);
      });
      return await unlessAborted(call?.signal, acting);
    } catch (error) {
      throw sftpError(error, what);
    }
  }

  /** @returns false when there was no such file */
  #remove(session: SftpSession, path: string): Promise<boolean> {
    return session.remove(this.#at(path)).then(
      () => true,
      (error: unknown) => {
        ignoreAbsent(error);
        return false;
      },
    );
  }

  #look(session: SftpSession, path: string): Promise<Attributes | undefined> {
    return session.stat(path).catch(ignoreAbsent);
  }

  /** An object may be absent; the repository may not. */
  async #assertPresent(session: SftpSession): Promise<void> {
    if ((await this.#look(session, this.#at("keys"))) !== undefined) return;
    throw new RepositoryNotFoundError(
      `Cannot read from repository ${this.location}: it has vanished`,
      { hint: "Was the server's disk unmounted? Mount it and run again" },
    );
  }

  async #syncFolder(session: SftpSession, folder: string): Promise<void> {
    if (!canSyncFolders(session)) return;
    const handle = await session.openFolderAsFile(this.#at(folder));
    const syncing = session.sync(handle);
    this.#tidyUp(session.close(handle));
    await syncing;
  }

  #at(path: string): string {
    const root = this.#root === "/" ? "" : this.#root;
    return path === "" ? root : `${root}/${path}`;
  }

  /** A connection that is cut leaves temporaries behind: the next one removes them. */
  #discard(session: SftpSession, temporary: string): void {
    this.#leftBehind.delete(temporary);
    const removed = session.remove(temporary).catch((error: unknown) => {
      if (error instanceof ConnectionLost) this.#leftBehind.add(temporary);
    });
    this.#tidyUp(removed);
  }

  /** Nobody waits for it, and it may fail. */
  readonly #tidyUp = (act: Promise<unknown>): void => {
    const tidied: Promise<unknown> = act
      .catch(() => undefined)
      .finally(() => this.#tidying.delete(tidied));
    this.#tidying.add(tidied);
  };

  #readOptions(call: (StorageCall & { readonly into?: Uint8Array }) | undefined): ReadOptions {
    return { into: call?.into, signal: call?.signal, pace: this.#pace, tidyUp: this.#tidyUp };
  }

  #word(): string {
    return Math.floor(this.#random() * 2 ** 32)
      .toString(16)
      .padStart(8, "0");
  }
}

/** Relative to the repository. @throws {BugError} */
function pathOf(kind: ObjectKind, name: string): string {
  const folder = folderOf(kind, name);
  return folder === "" ? name : `${folder}/${name}`;
}
