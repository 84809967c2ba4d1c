/**
 * Objects on a local file system.
 *
 *   config   keys/NAME   data/XX/NAME   index/NAME   snapshots/NAME   locks/NAME      (XX: NAME's first two digits)
 *
 * Folders are made by `createLocalStorage` alone: a repository whose mount went away must not grow anew
 * on the disk beneath. What does not bear an object's name (a killed run's temporary) is never listed.
 */
import { constants, type Dirent } from "node:fs";
import {
  type FileHandle,
  link,
  mkdir,
  open,
  opendir,
  rename,
  stat,
  unlink,
} from "node:fs/promises";
import { join } from "node:path";
import { mapConcurrent } from "../async.ts";
import { CorruptionError, RepositoryExistsError, RepositoryNotFoundError } from "../errors.ts";
import { backendError, errnoOf } from "./local-errors.ts";
import {
  type ByteRange,
  configName,
  type ObjectInfo,
  type ObjectKind,
  type Storage,
  type StorageCall,
  type StorageTraits,
} from "./storage.ts";

const folderKinds = ["keys", "data", "index", "snapshots", "locks"] as const;
const objectName = /^[0-9a-f]{64}$/;
const temporaryPrefix = "tmp-";
const statsInFlight = 32;

/** Makes the folders of a new repository. @throws {RepositoryExistsError} */
export async function createLocalStorage(root: string): Promise<LocalStorage> {
  try {
    await mkdir(root, { recursive: true, mode: 0o700 });
    if (await exists(join(root, configName))) {
      throw new RepositoryExistsError(`Cannot create repository ${root}: there is one already`, {
        hint: "Use it, or choose another place",
      });
    }
    for (const folder of [...folderKinds, ...shards().map((shard) => join("data", shard))]) {
      await mkdir(join(root, folder), { recursive: true, mode: 0o700 });
    }
    await syncFolder(root);
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
    hint: "An unmounted disk looks like this: mount it, or check the path. Only `ashlar init` creates a repository",
  });
}

export class LocalStorage implements Storage {
  readonly location: string;
  readonly #root: string;
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
    const temporary = join(
      folder,
      `${temporaryPrefix}${process.pid}-${this.#temporaries++}-${name.slice(0, 16)}`,
    );
    try {
      await writeDurably(temporary, parts, call?.signal);
      try {
        if (!(await this.#publish(temporary, path))) return "exists";
      } finally {
        await unlink(temporary).catch(ignoreAbsent);
      }
      // The folder too: a name alone may be lost with the power.
      await syncFolder(folder);
      return "created";
    } catch (error) {
      throw backendError(error, `Cannot store ${kind} object ${name} in ${this.location}`);
    }
  }

  async get(
    kind: ObjectKind,
    name: string,
    range?: ByteRange,
    call?: StorageCall & { readonly into?: Uint8Array },
  ): Promise<Uint8Array | undefined> {
    call?.signal?.throwIfAborted();
    let file: FileHandle | undefined;
    try {
      file = await open(this.#path(kind, name), constants.O_RDONLY);
      const { offset, length } = range ?? { offset: 0, length: (await file.stat()).size };
      const bytes =
        call?.into === undefined ? new Uint8Array(length) : call.into.subarray(0, length);
      if (bytes.length < length) throw new RangeError("the buffer is smaller than the range");
      const count = await readFully(file, bytes, offset);
      if (count === length) return bytes;
      throw new CorruptionError(
        `Cannot read ${kind} object ${name}: it ends at ${offset + count}, not at ${offset + length} or after`,
        {
          hint: "See: ashlar check",
        },
      );
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return this.#absent();
      throw backendError(error, `Cannot read ${kind} object ${name} from ${this.location}`);
    } finally {
      await file?.close();
    }
  }

  async *list(
    kind: ObjectKind,
    call?: StorageCall & { readonly prefix?: string },
  ): AsyncGenerator<ObjectInfo> {
    const prefix = call?.prefix ?? "";
    if (kind === "config") {
      const info = await this.stat("config", configName);
      if (info?.name.startsWith(prefix) === true) yield info;
      return;
    }
    const found = mapConcurrent(this.#names(kind, prefix), statsInFlight, (name) =>
      this.stat(kind, name, call),
    );
    for await (const info of found) if (info !== undefined) yield info;
  }

  async stat(kind: ObjectKind, name: string, call?: StorageCall): Promise<ObjectInfo | undefined> {
    call?.signal?.throwIfAborted();
    try {
      const info = await stat(this.#path(kind, name));
      return info.isFile() ? { name, size: info.size } : undefined;
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return undefined;
      throw backendError(error, `Cannot look at ${kind} object ${name} in ${this.location}`);
    }
  }

  async delete(kind: ObjectKind, name: string, call?: StorageCall): Promise<boolean> {
    call?.signal?.throwIfAborted();
    try {
      await unlink(this.#path(kind, name));
      await syncFolder(this.#folder(kind, name));
      return true;
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return false;
      throw backendError(error, `Cannot delete ${kind} object ${name} from ${this.location}`);
    }
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  /**
   * Removes what killed runs left behind.
   * @param before  milliseconds since the epoch: younger ones may belong to a run that lives
   * @returns bytes freed
   */
  async removeStaleTemporaries(before: number): Promise<number> {
    let freed = 0;
    const folders = [
      ...folderKinds.filter((kind) => kind !== "data"),
      ...shards().map((shard) => join("data", shard)),
    ];
    for (const folder of folders) {
      for await (const entry of entriesOf(join(this.#root, folder))) {
        if (!entry.name.startsWith(temporaryPrefix)) continue;
        const path = join(this.#root, folder, entry.name);
        const info = await stat(path).catch(ignoreAbsent);
        if (info === undefined || info.mtimeMs >= before) continue;
        await unlink(path).catch(ignoreAbsent);
        freed += info.size;
      }
    }
    return freed;
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
        if (code !== "EPERM" && code !== "ENOTSUP" && code !== "EMLINK" && code !== "ENOSYS")
          throw error;
        this.#canLink = false; // FAT and some network file systems have no links.
      }
    }
    if (await exists(path)) return false;
    await rename(temporary, path);
    return true;
  }

  async *#names(kind: (typeof folderKinds)[number], prefix: string): AsyncGenerator<string> {
    const folder = join(this.#root, kind);
    const isWanted = (name: string): boolean => objectName.test(name) && name.startsWith(prefix);
    try {
      if (kind !== "data") {
        for await (const { name } of entriesOf(folder)) if (isWanted(name)) yield name;
        return;
      }
      for (const shard of shards().filter(
        (shard) => prefix.startsWith(shard) || shard.startsWith(prefix),
      )) {
        for await (const { name } of entriesOf(join(folder, shard))) {
          if (isWanted(name) && name.startsWith(shard)) yield name;
        }
      }
    } catch (error) {
      throw backendError(error, `Cannot list ${kind} objects of ${this.location}`);
    }
  }

  #folder(kind: ObjectKind, name: string): string {
    if (kind === "config") return this.#root;
    return kind === "data" ? join(this.#root, kind, name.slice(0, 2)) : join(this.#root, kind);
  }

  #path(kind: ObjectKind, name: string): string {
    const isObject = kind === "config" ? name === configName : objectName.test(name);
    if (!isObject) throw new RangeError(`no object can be named ${name}`);
    return join(this.#folder(kind, name), name);
  }

  /** An object may be absent; the repository may not. */
  async #absent(): Promise<undefined> {
    if (await exists(join(this.#root, "keys"))) return undefined;
    throw new RepositoryNotFoundError(
      `Cannot read from repository ${this.#root}: it has vanished`,
      {
        hint: "Was the disk unmounted? Mount it and run again",
      },
    );
  }
}

async function writeDurably(
  path: string,
  parts: readonly Uint8Array[],
  signal: AbortSignal | undefined,
): Promise<void> {
  const file = await open(path, "wx", 0o400);
  try {
    for (const part of parts) {
      for (let at = 0; at < part.length;) {
        signal?.throwIfAborted();
        at += (await file.write(part, at)).bytesWritten;
      }
    }
    await file.sync();
  } catch (error) {
    await unlink(path).catch(ignoreAbsent);
    throw error;
  } finally {
    await file.close();
  }
}

async function readFully(file: FileHandle, into: Uint8Array, offset: number): Promise<number> {
  let at = 0;
  while (at < into.length) {
    const { bytesRead } = await file.read(into, at, into.length - at, offset + at);
    if (bytesRead === 0) break;
    at += bytesRead;
  }
  return at;
}

async function syncFolder(path: string): Promise<void> {
  const folder = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

async function* entriesOf(folder: string): AsyncGenerator<Dirent> {
  yield* await opendir(folder, { bufferSize: 512 });
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

function shards(): string[] {
  return Array.from({ length: 256 }, (_, n) => n.toString(16).padStart(2, "0"));
}

function ignoreAbsent(error: unknown): undefined {
  if (errnoOf(error) !== "ENOENT") throw error;
  return undefined;
}
