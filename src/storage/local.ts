/**
 * Objects on a local file system, laid out as layout.ts says.
 *
 * Folders are made by `createLocalStorage` alone: a repository whose mount went away must not grow anew
 * on the disk beneath. What does not bear an object's name (a killed run's temporary) is never listed.
 */
import { constants } from "node:fs";
import {
  type FileHandle,
  link,
  mkdir,
  open,
  readdir,
  rename,
  stat,
  unlink,
} from "node:fs/promises";
import { dirname, join } from "node:path";
import {
  assert,
  CorruptionError,
  RepositoryExistsError,
  RepositoryNotFoundError,
} from "../errors.ts";
import { readFully, syncFolder, writeDurably } from "./durable-file.ts";
import { backendError, errnoOf } from "./local-errors.ts";
import { filesOf } from "./local-listing.ts";
import { folderOf, folders, foldersToList, isObjectName, temporaryPrefix } from "./layout.ts";
import { OpenFiles } from "./open-files.ts";
import {
  type ByteRange,
  configName,
  type ObjectInfo,
  type ObjectKind,
  type Storage,
  type StorageCall,
  type StorageTraits,
  objectText,
} from "./storage.ts";

/** What `link` answers where there are no hard links, as on FAT and some network file systems. */
const noLinks: ReadonlySet<string | undefined> = new Set(["EPERM", "ENOTSUP", "EMLINK", "ENOSYS"]);

/** Makes the folders of a new repository. @throws {RepositoryExistsError} */
export async function createLocalStorage(root: string): Promise<LocalStorage> {
  try {
    const made = await mkdir(root, { recursive: true, mode: 0o700 });
    if (await exists(join(root, configName))) {
      throw new RepositoryExistsError(`Cannot create repository ${root}: there is one already`, {
        hint: "Use it, or choose another place",
      });
    }
    for (const folder of folders) {
      await mkdir(join(root, folder), { recursive: true, mode: 0o700 });
    }
    // Every name from the first folder that is new: later puts rely on them after a power cut.
    await syncFolder(join(root, "data"));
    for (let path = root; ; path = dirname(path)) {
      await syncFolder(path);
      if (made === undefined || path === dirname(made) || path === dirname(path)) break;
    }
  } catch (error) {
    throw backendError(error, `Cannot create repository ${root}`);
  }
  return new LocalStorage(root);
}

/** Opens what `init` has made, and makes nothing. @throws {RepositoryNotFoundError} */
export async function openLocalStorage(root: string): Promise<LocalStorage> {
  try {
    if (await exists(join(root, configName))) return new LocalStorage(root);
  } catch (error) {
    throw backendError(error, `Cannot open repository ${root}`);
  }
  throw new RepositoryNotFoundError(`Cannot open repository ${root}: there is none`, {
    hint: "A mount point whose disk is not mounted looks like this: mount it, or check the path. Only `ashlar init` creates a repository",
  });
}

export class LocalStorage implements Storage {
  readonly location: string;
  readonly #root: string;
  readonly #packs = new OpenFiles();
  #canLink = true;
  #temporaries = 0;

  constructor(root: string) {
    this.location = root;
    this.#root = root;
  }

  get traits(): StorageTraits {
    return { conditionalPut: this.#canLink, local: true };
  }

  async put(
    kind: ObjectKind,
    name: string,
    parts: readonly Uint8Array[],
    call?: StorageCall,
  ): Promise<"created" | "exists"> {
    call?.signal?.throwIfAborted();
    const path = this.#path(kind, name);
    const folder = this.#folder(kind, name);
    try {
      const isNew = !(await exists(path)) && (await this.#create(folder, path, parts, call));
      // When it exists as well: whoever made it may not have come so far.
      await syncFolder(folder);
      return isNew ? "created" : "exists";
    } catch (error) {
      throw backendError(error, `Cannot store ${objectText(kind, name)} in ${this.location}`);
    }
  }

  async get(
    kind: ObjectKind,
    name: string,
    range?: ByteRange,
    call?: StorageCall & { readonly into?: Uint8Array },
  ): Promise<Uint8Array | undefined> {
    call?.signal?.throwIfAborted();
    const path = this.#path(kind, name);
    const read = (file: FileHandle): Promise<Uint8Array> =>
      readRange(file, objectText(kind, name), range, call?.into);
    try {
      // Packs are read in many pieces; all else once and whole.
      if (kind === "data" && range !== undefined) return await this.#packs.use(path, read);
      await using file = await open(path, constants.O_RDONLY);
      return await read(file);
    } catch (error) {
      if (errnoOf(error) === "ENOENT") {
        await this.#assertPresent();
        return undefined;
      }
      throw backendError(error, `Cannot read ${objectText(kind, name)} from ${this.location}`);
    }
  }

  async *list(
    kind: ObjectKind,
    call?: StorageCall & { readonly prefix?: string },
  ): AsyncGenerator<ObjectInfo> {
    call?.signal?.throwIfAborted();
    const prefix = call?.prefix ?? "";
    if (kind === "config") {
      const info = await this.stat(kind, configName);
      if (info !== undefined && configName.startsWith(prefix)) yield info;
      return;
    }
    for (const folder of foldersToList(kind, prefix)) {
      const isObject = (name: string): boolean =>
        isObjectName(name) && name.startsWith(prefix) && folderOf(kind, name) === folder;
      try {
        yield* await filesOf(join(this.#root, folder), isObject);
      } catch (error) {
        throw backendError(error, `Cannot list ${kind} objects of ${this.location}`);
      }
      call?.signal?.throwIfAborted();
    }
  }

  async stat(kind: ObjectKind, name: string, call?: StorageCall): Promise<ObjectInfo | undefined> {
    call?.signal?.throwIfAborted();
    try {
      const info = await stat(this.#path(kind, name));
      return info.isFile() ? { name, size: info.size } : undefined;
    } catch (error) {
      if (errnoOf(error) === "ENOENT") {
        await this.#assertPresent();
        return undefined;
      }
      throw backendError(error, `Cannot look at ${objectText(kind, name)} in ${this.location}`);
    }
  }

  async delete(kind: ObjectKind, name: string, call?: StorageCall): Promise<boolean> {
    call?.signal?.throwIfAborted();
    try {
      const path = this.#path(kind, name);
      await this.#packs.forget(path);
      const isGone = await removed(path);
      if (!isGone) await this.#assertPresent();
      // When there was none as well: a run killed just before the sync may have removed it.
      await syncFolder(this.#folder(kind, name));
      return isGone;
    } catch (error) {
      throw backendError(error, `Cannot delete ${objectText(kind, name)} from ${this.location}`);
    }
  }

  close(): Promise<void> {
    return this.#packs.close();
  }

  /**
   * Removes what killed runs left behind.
   * @param before  milliseconds since the epoch: younger ones may belong to a run that lives
   * @returns bytes freed
   */
  async removeStaleTemporaries(before: number): Promise<number> {
    let freed = 0;
    try {
      for (const folder of [".", ...folders]) {
        for (const name of await readdir(join(this.#root, folder))) {
          if (!name.startsWith(temporaryPrefix)) continue;
          const path = join(this.#root, folder, name);
          const info = await stat(path).catch(ignoreAbsent);
          if (info === undefined || info.mtimeMs >= before) continue;
          // Killed after `link`, the bytes are an object's by now.
          if ((await removed(path)) && info.nlink === 1) freed += info.size;
        }
      }
    } catch (error) {
      throw backendError(error, `Cannot clean up repository ${this.location}`);
    }
    return freed;
  }

  /** @returns false when another was faster */
  async #create(
    folder: string,
    path: string,
    parts: readonly Uint8Array[],
    call: StorageCall | undefined,
  ): Promise<boolean> {
    const temporary = await this.#writeTemporary(folder, parts, call?.signal);
    try {
      call?.signal?.throwIfAborted();
      return await this.#publish(temporary, path);
    } finally {
      // Should this fail the object is in its place all the same, and prune removes the rest.
      await unlink(temporary).catch(() => undefined);
    }
  }

  /** Names repeat where process ids do (containers), and after a kill: taken ones are passed over. */
  async #writeTemporary(
    folder: string,
    parts: readonly Uint8Array[],
    signal: AbortSignal | undefined,
  ): Promise<string> {
    for (;;) {
      const path = join(folder, `${temporaryPrefix}${process.pid}-${this.#temporaries++}`);
      try {
        await writeDurably(path, parts, signal);
        return path;
      } catch (error) {
        if (errnoOf(error) !== "EEXIST") throw error;
      }
    }
  }

  /** @returns false when the name was taken */
  async #publish(temporary: string, path: string): Promise<boolean> {
    if (this.#canLink) {
      try {
        await link(temporary, path);
        return true;
      } catch (error) {
        const code = errnoOf(error);
        if (code === "EEXIST") return false;
        if (!noLinks.has(code)) throw error;
        this.#canLink = false;
      }
    }
    if (await exists(path)) return false;
    await rename(temporary, path);
    return true;
  }

  #folder(kind: ObjectKind, name: string): string {
    return join(this.#root, folderOf(kind, name));
  }

  #path(kind: ObjectKind, name: string): string {
    return join(this.#folder(kind, name), name);
  }

  /** An object may be absent; the repository may not. */
  async #assertPresent(): Promise<void> {
    if (await exists(join(this.#root, "keys"))) return;
    throw new RepositoryNotFoundError(
      `Cannot read from repository ${this.#root}: it has vanished`,
      { hint: "Was the disk unmounted? Mount it and run again" },
    );
  }
}

async function readRange(
  file: FileHandle,
  what: string,
  range: ByteRange | undefined,
  into: Uint8Array | undefined,
): Promise<Uint8Array> {
  const { offset, length } = range ?? { offset: 0, length: (await file.stat()).size };
  assert(offset >= 0 && length >= 0, "a range begins and ends at or after 0");
  const bytes = into === undefined ? new Uint8Array(length) : into.subarray(0, length);
  assert(bytes.length === length, "a buffer holds the range read into it");
  const end = offset + (await readFully(file, bytes, offset));
  if (end === offset + length && (length > 0 || end <= (await file.stat()).size)) return bytes;
  throw new CorruptionError(`Cannot read ${what}: it ends before byte ${offset + length}`, {
    hint: "See: ashlar check",
  });
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch (error) {
    const code = errnoOf(error);
    if (code === "ENOENT" || code === "ENOTDIR") return false;
    throw error;
  }
}

/** @returns false when there was no such file */
async function removed(path: string): Promise<boolean> {
  try {
    await unlink(path);
    return true;
  } catch (error) {
    ignoreAbsent(error);
    return false;
  }
}

function ignoreAbsent(error: unknown): undefined {
  if (errnoOf(error) !== "ENOENT") throw error;
  return undefined;
}
