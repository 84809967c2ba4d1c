/**
 * A backup-only host's own copy of the tree of its last snapshot of these paths: it cannot read the
 * repository, and without the copy each night would read everything (decision 6). Sealed under a key
 * of its own; lost or damaged, it counts as absent.
 */
import { mkdirSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { dirname, extname, join } from "node:path";
import { toHex, utf8Bytes } from "../../../bytes.ts";
import { CorruptionError } from "../../../errors.ts";
import type { Repository } from "../repository.ts";
import { sha256 } from "../sealed-records.ts";
import { contentNodes, type NodeSource, rootEntry, walkTree } from "../tree-reader.ts";
import { NodeFile } from "./node-file.ts";

/** What is backed up: each has a copy of its own, so that several jobs on a host do not lose each other's. */
export interface LocalSource {
  readonly hostname: string;
  readonly paths: readonly string[];
}

/** What the host knows of its last snapshot. */
export interface LocalParent extends LocalSource {
  readonly snapshot: string;
  /** Blob id of the root directory's node, hexadecimal. */
  readonly tree: string;
}

/** Copies that are kept: paths that change each night must not fill the cache. */
const copiesMost = 16;
/** What a killed run leaves behind is deleted when it is so old. */
const leftoverMs = 7 * 86_400_000;

/** Under this id the file keeps the JSON of LocalParent: no node's id, which are keyed hashes. */
const parentId = new Uint8Array(32);

export class LocalNodes implements NodeSource, Disposable {
  readonly #repository: Repository;
  readonly #path: string;
  readonly #before: NodeFile | undefined;
  readonly #made: NodeFile;
  readonly #madePath: string;
  /** The last snapshot; undefined when there is no copy of it. */
  readonly parent: LocalParent | undefined;

  private constructor(repository: Repository, path: string) {
    this.#repository = repository;
    this.#path = path;
    this.#before = openBefore(repository, path);
    this.parent = this.#before === undefined ? undefined : readParent(this.#before);
    this.#madePath = `${path}.${toHex(repository.environment.random.bytes(8))}`;
    this.#made = NodeFile.create(repository, this.#madePath);
  }

  /** @returns undefined where there is no cache folder that can be written */
  static open(repository: Repository, source: LocalSource): LocalNodes | undefined {
    const { cacheDir } = repository.environment;
    if (cacheDir === undefined) return undefined;
    const folder = join(cacheDir, repository.idHex);
    try {
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      return new LocalNodes(repository, join(folder, `${namePrefix(repository)}${nameOf(source)}`));
    } catch (error) {
      if (isSystemError(error)) return undefined;
      throw error;
    }
  }

  /** Keeps a node that this run stores. */
  add(id: Uint8Array, bytes: Uint8Array): void {
    this.#made.add(id, bytes);
  }

  readTree(id: Uint8Array): Promise<Uint8Array> {
    const file = this.#made.has(id) || this.#before === undefined ? this.#made : this.#before;
    return file.readTree(id);
  }

  /** Replaces the copy by the tree of the snapshot that was just committed. @returns false when it could not be kept */
  async commit(parent: LocalParent, root: Uint8Array): Promise<boolean> {
    const temporary = `${this.#madePath}.new`;
    try {
      using file = NodeFile.create(this.#repository, temporary);
      for await (const id of this.#reachable(root)) {
        if (!file.has(id)) file.add(id, await this.readTree(id));
      }
      file.add(parentId, utf8Bytes(JSON.stringify(parent)));
      file.sync();
      renameSync(temporary, this.#path);
      this.#removeOld();
      return true;
    } catch (error) {
      rmSync(temporary, { force: true });
      if (error instanceof CorruptionError || isSystemError(error)) return false;
      throw error;
    }
  }

  [Symbol.dispose](): void {
    this.#made.close();
    this.#before?.close();
    rmSync(this.#madePath, { force: true });
  }

  #removeOld(): void {
    const folder = dirname(this.#path);
    const files = readdirSync(folder)
      .filter((name) => name.startsWith(namePrefix(this.#repository)))
      .map((name) => ({ path: join(folder, name), modifiedMs: modifiedMs(join(folder, name)) }))
      .sort((a, b) => b.modifiedMs - a.modifiedMs);
    const isCopy = ({ path }: { readonly path: string }): boolean => extname(path) === "";
    const now = this.#repository.environment.clock.now();
    const old = [
      ...files.filter(isCopy).slice(copiesMost),
      ...files.filter((file) => !isCopy(file) && now - file.modifiedMs > leftoverMs),
    ];
    for (const { path } of old) rmSync(path, { force: true });
  }

  async *#reachable(root: Uint8Array): AsyncGenerator<Uint8Array> {
    const { settings } = this.#repository;
    for await (const { nodes } of contentNodes(this, rootEntry(root), settings)) yield* nodes;
    for await (const { entry } of walkTree(this, root)) {
      for await (const { nodes } of contentNodes(this, entry, settings)) yield* nodes;
    }
  }
}

function namePrefix(repository: Repository): string {
  return `last-tree-${repository.writer.writerId}-`;
}

function nameOf({ hostname, paths }: LocalSource): string {
  return sha256(utf8Bytes(JSON.stringify([hostname, [...paths].sort()]))).slice(0, 16);
}

/** What another run deletes meanwhile counts as old. */
function modifiedMs(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

function openBefore(repository: Repository, path: string): NodeFile | undefined {
  try {
    return NodeFile.open(repository, path);
  } catch (error) {
    if (error instanceof CorruptionError || isSystemError(error)) return undefined;
    throw error;
  }
}

function readParent(file: NodeFile): LocalParent | undefined {
  try {
    return JSON.parse(new TextDecoder().decode(file.read(parentId))) as LocalParent;
  } catch (error) {
    if (error instanceof CorruptionError) return undefined;
    throw error;
  }
}

function isSystemError(error: unknown): boolean {
  return error instanceof Error && "errno" in error;
}
