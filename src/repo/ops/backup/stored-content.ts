/**
 * Whether the content of an unchanged file is still all there, before it is taken over without reading
 * it again: an index that was repaired, or packs that are gone, must not be built upon.
 *
 * Asking for every chunk of a 500 GB image would cost a minute. Where every index object that was
 * listed when the parent was committed is listed still, and no pack is missing, nothing can have gone.
 */
import type { BlobIndex } from "../../blob-index/index.ts";
import { CorruptionError } from "../../../errors.ts";
import type { DirectoryEntry } from "../../format/index.ts";
import { LocalHints } from "../local-hints.ts";
import type { Repository } from "../repository.ts";
import { contentNodes, type NodeSource } from "../tree-reader.ts";

interface Memory {
  readonly snapshot: string;
  /** More that were whole when it was: a copy writes many snapshots. */
  readonly others?: readonly string[];
  readonly indexObjects: readonly string[];
}

const hintName = "index-at-last-snapshot.json";

export class StoredContent {
  readonly #repository: Repository;
  readonly #index: BlobIndex;
  readonly #parent: { readonly id: string; readonly source: NodeSource } | undefined;
  readonly #hints: LocalHints;
  #isWhole: Promise<boolean> | undefined;

  constructor(
    repository: Repository,
    index: BlobIndex,
    parent: { readonly id: string; readonly source: NodeSource } | undefined,
  ) {
    this.#repository = repository;
    this.#index = index;
    this.#parent = parent;
    this.#hints = new LocalHints(repository.environment, repository.idHex);
  }

  async holds(entry: DirectoryEntry): Promise<boolean> {
    if (this.#parent === undefined) return false;
    if ((await this.isWhole()) && this.#index.dependOnAll()) return true;
    try {
      for await (const { nodes, chunks } of contentNodes(
        this.#parent.source,
        entry,
        this.#repository.settings,
      )) {
        if (
          !nodes.every((id) => this.#index.has("tree", id)) ||
          !chunks.every((id) => this.#index.has("data", id))
        )
          return false;
      }
      return true;
    } catch (error) {
      if (error instanceof CorruptionError) return false;
      throw error;
    }
  }

  /** Whether nothing that the parent is made of can have gone; false where that is not known. */
  isWhole(): Promise<boolean> {
    this.#isWhole ??=
      this.#parent === undefined ? Promise.resolve(false) : this.#hasLostNothing(this.#parent.id);
    return this.#isWhole;
  }

  /** After a commit: what the next run may rely on. */
  async remember(snapshot: string, others: readonly string[] = []): Promise<void> {
    const indexObjects = this.#index.indexObjects().map((object) => object.name);
    const memory: Memory = { snapshot, others, indexObjects };
    await this.#hints.write(hintName, JSON.stringify(memory));
  }

  async #hasLostNothing(parent: string): Promise<boolean> {
    const memory = await this.#memory();
    if (memory === undefined) return false;
    if (memory.snapshot !== parent && memory.others?.includes(parent) !== true) return false;
    const listed = new Set(this.#index.indexObjects().map((object) => object.name));
    return memory.indexObjects.every((name) => listed.has(name)) && this.#allPacksUsable();
  }

  #allPacksUsable(): boolean {
    for (const { name } of this.#index.packs()) {
      if (!this.#index.packNumbers(name).some((number) => this.#index.usable(number))) return false;
    }
    return true;
  }

  async #memory(): Promise<Memory | undefined> {
    try {
      const text = await this.#hints.read(hintName);
      return text === undefined ? undefined : (JSON.parse(text) as Memory);
    } catch {
      return undefined;
    }
  }
}
