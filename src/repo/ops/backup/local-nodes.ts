/**
 * A backup-only host's own copy of the tree of its last snapshot: it cannot read the repository, and
 * without the copy each night would read everything (decision 6). Sealed under a key of its own; lost
 * or damaged, it counts as absent.
 */
import { mkdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { toHex, utf8Bytes } from "../../../bytes.ts";
import { CorruptionError } from "../../../errors.ts";
import type { Repository } from "../repository.ts";
import { contentNodes, type NodeSource, rootEntry, walkTree } from "../tree-reader.ts";
import { NodeFile } from "./node-file.ts";

/** What the host knows of its last snapshot. */
export interface LocalParent {
  readonly snapshot: string;
  /** Blob id of the root directory's node, hexadecimal. */
  readonly tree: string;
  readonly hostname: string;
  readonly paths: readonly string[];
}

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
  static open(repository: Repository): LocalNodes | undefined {
    const { cacheDir } = repository.environment;
    if (cacheDir === undefined) return undefined;
    const folder = join(cacheDir, repository.idHex);
    try {
      mkdirSync(folder, { recursive: true, mode: 0o700 });
      return new LocalNodes(repository, join(folder, `last-tree-${repository.writer.writerId}`));
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

  async *#reachable(root: Uint8Array): AsyncGenerator<Uint8Array> {
    const { settings } = this.#repository;
    for await (const { nodes } of contentNodes(this, rootEntry(root), settings)) yield* nodes;
    for await (const { entry } of walkTree(this, root)) {
      for await (const { nodes } of contentNodes(this, entry, settings)) yield* nodes;
    }
  }
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
