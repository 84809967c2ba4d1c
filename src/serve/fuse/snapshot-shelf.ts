/** The snapshots that a mount of all shows: looked for again when somebody looks, but not all the time. */
import { readableSnapshots, type Repository, type SnapshotFilter } from "../../repo/ops/index.ts";
import { snapshotFolders } from "./snapshot-folders.ts";
import type { FolderItem } from "./snapshot-folders.ts";

const freshMs = 60_000;

export class SnapshotShelf {
  readonly #repository: Repository;
  readonly #filter: SnapshotFilter;
  #item: FolderItem;
  #ids: ReadonlySet<string>;
  #lookedAt: number;
  #looking: Promise<void> | undefined;

  static async open(repository: Repository, filter: SnapshotFilter): Promise<SnapshotShelf> {
    return new SnapshotShelf(repository, filter, await readableSnapshots(repository, filter));
  }

  private constructor(
    repository: Repository,
    filter: SnapshotFilter,
    snapshots: Awaited<ReturnType<typeof readableSnapshots>>,
  ) {
    this.#repository = repository;
    this.#filter = filter;
    this.#item = { folder: snapshotFolders(snapshots), timeMs: snapshots.at(-1)?.timeMs ?? 0 };
    this.#ids = new Set(snapshots.map(({ id }) => id));
    this.#lookedAt = repository.environment.clock.elapsed();
  }

  get count(): number {
    return this.#ids.size;
  }

  /** The folder of all, as it was found a minute ago or later. */
  async folders(): Promise<FolderItem> {
    const { clock } = this.#repository.environment;
    if (clock.elapsed() - this.#lookedAt >= freshMs) {
      this.#looking ??= this.#look().finally(() => {
        this.#lookedAt = clock.elapsed();
        this.#looking = undefined;
      });
      await this.#looking;
    }
    return this.#item;
  }

  /** What cannot be listed now stays as it was: who reads in it is not to be disturbed. */
  async #look(): Promise<void> {
    try {
      const found = await SnapshotShelf.open(this.#repository, this.#filter);
      const isNew = [...found.#ids].some((id) => !this.#ids.has(id));
      if (isNew) await (await this.#repository.index()).refresh();
      this.#item = found.#item;
      this.#ids = found.#ids;
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      this.#repository.environment.warn(`Cannot look for new snapshots: ${why}`);
    }
  }
}
