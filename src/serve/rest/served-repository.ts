/**
 * One repository's folder, as local.ts lays it out, for streams instead of whole objects.
 *
 * Names come from patterns (paths.ts). What may lie in the folder besides, symlinks above all, is not
 * followed: a folder must be its own real path, and a file is opened without following.
 */
import { createHash } from "node:crypto";
import { constants } from "node:fs";
import {
  type FileHandle,
  link,
  lstat,
  mkdir,
  open,
  opendir,
  readdir,
  readFile,
  realpath,
  unlink,
} from "node:fs/promises";
import { dirname, join } from "node:path";
import { mapConcurrent } from "../../async.ts";
import { RepositoryExistsError } from "../../errors.ts";
import {
  createLocalStorage,
  type ObjectInfo,
  type ObjectKind,
  syncFolder,
} from "../../storage/index.ts";
import { Refusal } from "./refusal.ts";
import { Usage } from "./usage.ts";

const objectName = /^[0-9a-f]{64}$/;
const shardName = /^[0-9a-f]{2}$/;
const shards = Array.from({ length: 256 }, (_, n) => n.toString(16).padStart(2, "0"));
/** `prune` on the same file system removes what is so named and a day old. */
const temporaryPrefix = "tmp-gateway-";
/** Beside a session: the user who put it, and so may take it away. */
const ownerSuffix = ".owner";

export interface PutOptions {
  readonly body: AsyncIterable<Uint8Array>;
  readonly bytesMax: number;
  /** Undefined: the name is none of the content. */
  readonly checkName: boolean;
  /** Kept beside the object. */
  readonly owner: string | undefined;
  /** Told of each piece; throws when there is no room. */
  readonly onBytes: (bytes: number) => void;
}

export class ServedRepository {
  readonly usage: Usage;
  readonly #root: string;
  #temporaries = 0;

  /** @param root  absolute, and free of symlinks when it exists */
  constructor(root: string, elapsed: () => number) {
    this.#root = root;
    this.usage = new Usage(root, elapsed);
  }

  /** Makes its folders; one that is there already stays as it is. */
  async create(): Promise<void> {
    // A symlink on the way would lead out: the nearest folder that exists must be what it seems.
    let existing = this.#root;
    while ((await lstat(existing).catch(absent)) === undefined) existing = dirname(existing);
    if ((await realpath(existing)) !== existing) throw new Refusal(403, "a symlink is in the way");
    try {
      await (await createLocalStorage(this.#root)).close();
    } catch (error) {
      if (!(error instanceof RepositoryExistsError)) throw error;
    }
  }

  /** Open for reading; undefined when there is no such object. */
  async open(
    kind: ObjectKind,
    name: string,
  ): Promise<{ file: FileHandle; size: number } | undefined> {
    const folder = await this.#folder(kind, name);
    if (folder === undefined) return undefined;
    let file: FileHandle;
    try {
      file = await open(
        join(folder, name),
        constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK,
      );
    } catch (error) {
      // ELOOP: a symlink, and so no object.
      if (codeOf(error) === "ELOOP") return undefined;
      absent(error);
      return;
    }
    try {
      const info = await file.stat();
      if (info.isFile()) return { file, size: info.size };
    } catch (error) {
      await file.close();
      throw error;
    }
    await file.close();
    return undefined;
  }

  async size(kind: ObjectKind, name: string): Promise<number | undefined> {
    const folder = await this.#folder(kind, name);
    if (folder === undefined) return undefined;
    const info = await lstat(join(folder, name)).catch(absent);
    return info?.isFile() === true ? info.size : undefined;
  }

  /** Undefined when the repository is not there: an unmounted disk must not look empty. */
  async list(kind: ObjectKind): Promise<AsyncGenerator<ObjectInfo> | undefined> {
    const folder = await this.#realFolder(join(this.#root, kind));
    if (folder === undefined) return undefined;
    return kind === "data" ? objectsInShards(folder) : objectsIn(folder, await readdir(folder));
  }

  /**
   * Reads the body into a temporary file, checks it, and only then gives it its name; durable when it returns.
   * @returns false when the name is taken
   * @throws {Refusal} when the body is too long or is not what its name says
   */
  async put(kind: ObjectKind, name: string, options: PutOptions): Promise<boolean> {
    const folder = await this.#folderForPut(kind, name);
    const temporary = join(folder, `${temporaryPrefix}${process.pid}-${this.#temporaries++}`);
    const file = await open(temporary, "wx", 0o400);
    try {
      try {
        await receive(file, name, options);
        await file.sync();
      } finally {
        await file.close();
      }
      if (options.owner !== undefined) await noteOwner(join(folder, name), options.owner);
      try {
        await link(temporary, join(folder, name));
      } catch (error) {
        if (codeOf(error) === "EEXIST") return false;
        throw error;
      }
      await syncFolder(folder);
      return true;
    } finally {
      await unlink(temporary).catch(() => undefined);
    }
  }

  /** @returns its size; undefined when there was none */
  async delete(kind: ObjectKind, name: string): Promise<number | undefined> {
    const folder = await this.#folder(kind, name);
    if (folder === undefined) return undefined;
    const path = join(folder, name);
    const info = await lstat(path).catch(absent);
    if (info?.isFile() !== true) return undefined;
    try {
      await unlink(path);
    } catch (error) {
      absent(error);
      return;
    }
    if (kind === "locks") await unlink(path + ownerSuffix).catch(absent);
    await syncFolder(folder);
    return info.size;
  }

  async ownerOf(kind: ObjectKind, name: string): Promise<string | undefined> {
    const folder = await this.#folder(kind, name);
    if (folder === undefined) return undefined;
    return readFile(join(folder, name + ownerSuffix), "utf8").catch(absent);
  }

  /** What a gateway that was killed left: half objects, and owners of sessions that others removed. */
  async tidy(before: number): Promise<void> {
    const folders = [
      "",
      "keys",
      "index",
      "snapshots",
      "locks",
      ...shards.map((s) => join("data", s)),
    ];
    for (const part of folders) {
      const folder = await this.#realFolder(join(this.#root, part));
      if (folder === undefined) continue;
      for await (const { name } of await opendir(folder)) {
        const path = join(folder, name);
        const isOwner = name.endsWith(ownerSuffix) && objectName.test(name.slice(0, 64));
        if (!name.startsWith(temporaryPrefix) && !isOwner) continue;
        if (isOwner && (await lstat(join(folder, name.slice(0, 64))).catch(absent)) !== undefined)
          continue;
        const info = await lstat(path).catch(absent);
        if (info !== undefined && info.mtimeMs < before) await unlink(path).catch(absent);
      }
    }
  }

  #folder(kind: ObjectKind, name: string): Promise<string | undefined> {
    return this.#realFolder(this.#folderPath(kind, name));
  }

  #folderPath(kind: ObjectKind, name: string): string {
    if (kind === "config") return this.#root;
    return kind === "data" ? join(this.#root, kind, name.slice(0, 2)) : join(this.#root, kind);
  }

  async #folderForPut(kind: ObjectKind, name: string): Promise<string> {
    const path = this.#folderPath(kind, name);
    const folder = await this.#realFolder(path);
    if (folder !== undefined) return folder;
    // Other servers make the folders of packs one by one; the others say that there is a repository.
    if (kind !== "data" || (await this.#realFolder(join(this.#root, kind))) === undefined)
      throw new Refusal(404, "there is no repository");
    await mkdir(path, { mode: 0o700 }).catch((error: unknown) => {
      if (codeOf(error) !== "EEXIST") throw error;
    });
    await syncFolder(dirname(path));
    return path;
  }

  /** Undefined when it is not there, or is reached by a symlink. */
  async #realFolder(path: string): Promise<string | undefined> {
    const real = await realpath(path).catch(absent);
    return real === path ? path : undefined;
  }
}

async function receive(file: FileHandle, name: string, options: PutOptions): Promise<void> {
  const hash = createHash("sha256");
  let length = 0;
  for await (const bytes of options.body) {
    length += bytes.length;
    if (length > options.bytesMax) throw new Refusal(413, "the object is too large");
    options.onBytes(bytes.length);
    hash.update(bytes);
    for (let at = 0; at < bytes.length;) at += (await file.write(bytes, at)).bytesWritten;
  }
  if (options.checkName && hash.digest("hex") !== name)
    throw new Refusal(400, "the content is not what its name says");
}

/** Before the object has its name: a session without an owner could never be ended. */
async function noteOwner(path: string, owner: string): Promise<void> {
  try {
    const file = await open(path + ownerSuffix, "wx", 0o600);
    try {
      await file.writeFile(owner);
    } finally {
      await file.close();
    }
  } catch (error) {
    if (codeOf(error) !== "EEXIST") throw error;
  }
}

async function* objectsInShards(folder: string): AsyncGenerator<ObjectInfo> {
  const shardFolders = (await readdir(folder, { withFileTypes: true }))
    .filter((entry) => entry.isDirectory() && shardName.test(entry.name))
    .map(({ name }) => join(folder, name));
  const contents = mapConcurrent(shardFolders, 8, async (path) => ({
    path,
    names: (await readdir(path).catch(absent)) ?? [],
  }));
  for await (const { path, names } of contents) yield* objectsIn(path, names);
}

/** Files only: a symlink is no object. */
async function* objectsIn(folder: string, names: readonly string[]): AsyncGenerator<ObjectInfo> {
  const wanted = names.filter((name) => objectName.test(name));
  const stats = mapConcurrent(wanted, 16, async (name) => {
    const info = await lstat(join(folder, name)).catch(absent);
    return info?.isFile() === true ? { name, size: info.size, storedMs: info.mtimeMs } : undefined;
  });
  for await (const info of stats) if (info !== undefined) yield info;
}

function codeOf(error: unknown): string | undefined {
  return error instanceof Error && "code" in error ? String(error.code) : undefined;
}

function absent(error: unknown): undefined {
  const code = codeOf(error);
  if (code !== "ENOENT" && code !== "ENOTDIR") throw error;
  return undefined;
}
