/** How large things are: what a restore would write, and what the repository spends on it. */
import { fromHex } from "../../bytes.ts";
import { type BlobIndex, type BlobLocation, BlobMarks } from "../blob-index/index.ts";
import { blobForm, type BlobClass } from "../format/index.ts";
import type { Repository } from "./repository.ts";
import { readableSnapshots, resolveSnapshot, type SnapshotFilter } from "./snapshots.ts";
import { contentNodes, rootEntry, walkTree } from "./tree-reader.ts";

export interface StatsOptions {
  /** Ids, prefixes or `latest`; absent: all that fit the filter. */
  readonly snapshots?: readonly string[] | undefined;
  readonly filter?: SnapshotFilter | undefined;
}

/** What the snapshots need; each blob counts once. */
export interface StatsReport {
  readonly snapshotCount: number;
  /** Files and their bytes, as restored; each snapshot's count. */
  readonly fileCount: number;
  readonly restoreBytes: number;
  readonly chunkCount: number;
  readonly treeCount: number;
  /** Plain bytes of chunks and tree nodes, each once. */
  readonly plainBytes: number;
  /** What these take, compressed and sealed, bases of deltas included. */
  readonly storedBytes: number;
  readonly deltaCount: number;
  readonly deltaPlainBytes: number;
  readonly deltaStoredBytes: number;
  /** Packs that a restore of these snapshots touches. */
  readonly packsTouched: number;
  /** Blobs that the index does not have: run check. */
  readonly missingCount: number;
  readonly repository: RepositoryStats;
}

/** The whole storage, garbage included. */
export interface RepositoryStats {
  readonly packCount: number;
  readonly packBytes: number;
  readonly indexObjectCount: number;
  readonly indexBytes: number;
  readonly snapshotObjectCount: number;
  readonly snapshotBytes: number;
  readonly totalBytes: number;
}

export async function stats(
  repository: Repository,
  options: StatsOptions = {},
  hooks: { readonly signal?: AbortSignal | undefined } = {},
): Promise<StatsReport> {
  const { snapshots: wanted, filter } = options;
  const snapshots =
    wanted === undefined
      ? await readableSnapshots(repository, filter)
      : await Promise.all(wanted.map((name) => resolveSnapshot(repository, name, filter)));
  const count = new NeededBlobs(await repository.index());
  const source = await repository.reader();
  let fileCount = 0;
  let restoreBytes = 0;
  for (const snapshot of snapshots) {
    hooks.signal?.throwIfAborted();
    const root = fromHex(snapshot.tree);
    await count.directory(repository, root);
    for await (const { entry } of walkTree(source, root)) {
      hooks.signal?.throwIfAborted();
      if (entry.metadata.type !== "dir") fileCount++;
      restoreBytes += entry.metadata.type === "file" ? entry.metadata.size : 0;
      for await (const { nodes, chunks } of contentNodes(source, entry, repository.settings)) {
        for (const id of nodes) count.add("tree", id);
        for (const id of chunks) count.add("data", id);
      }
    }
  }
  return {
    snapshotCount: snapshots.length,
    fileCount,
    restoreBytes,
    ...count.totals,
    repository: await repositoryStats(repository),
  };
}

class NeededBlobs {
  readonly totals = {
    chunkCount: 0,
    treeCount: 0,
    plainBytes: 0,
    storedBytes: 0,
    deltaCount: 0,
    deltaPlainBytes: 0,
    deltaStoredBytes: 0,
    packsTouched: 0,
    missingCount: 0,
  };
  readonly #index: BlobIndex;
  readonly #marks: BlobMarks;
  readonly #packs = new Set<number>();

  constructor(index: BlobIndex) {
    this.#index = index;
    this.#marks = new BlobMarks(index);
  }

  async directory(repository: Repository, node: Uint8Array): Promise<void> {
    const source = await repository.reader();
    const parts = contentNodes(source, rootEntry(node), repository.settings);
    for await (const { nodes } of parts) for (const id of nodes) this.add("tree", id);
  }

  add(cls: BlobClass, id: Uint8Array): void {
    const location = this.#index.lookup(cls, id);
    if (location === undefined) this.totals.missingCount++;
    else this.#take(cls, location);
  }

  #take(cls: BlobClass, location: BlobLocation): void {
    if (!this.#marks.mark(location)) return;
    const { totals } = this;
    if (cls === "data") totals.chunkCount++;
    else totals.treeCount++;
    totals.plainBytes += location.plainLength;
    totals.storedBytes += location.sealedLength;
    this.#packs.add(location.pack);
    totals.packsTouched = this.#packs.size;
    if (location.form !== blobForm.delta) return;
    totals.deltaCount++;
    totals.deltaPlainBytes += location.plainLength;
    totals.deltaStoredBytes += location.sealedLength;
    for (const prefix of location.basePrefixes) {
      const base = this.#index
        .lookupPrefix(cls, prefix)
        .find(({ depth }) => depth < location.depth);
      if (base === undefined) totals.missingCount++;
      else this.#take(cls, base);
    }
  }
}

async function repositoryStats({ storage }: Repository): Promise<RepositoryStats> {
  const sizes = {
    config: empty(),
    keys: empty(),
    data: empty(),
    index: empty(),
    snapshots: empty(),
    locks: empty(),
  };
  for (const [kind, total] of Object.entries(sizes)) {
    for await (const { size } of storage.list(kind as keyof typeof sizes)) {
      total.count++;
      total.bytes += size;
    }
  }
  return {
    packCount: sizes.data.count,
    packBytes: sizes.data.bytes,
    indexObjectCount: sizes.index.count,
    indexBytes: sizes.index.bytes,
    snapshotObjectCount: sizes.snapshots.count,
    snapshotBytes: sizes.snapshots.bytes,
    totalBytes: Object.values(sizes).reduce((sum, { bytes }) => sum + bytes, 0),
  };
}

function empty(): { count: number; bytes: number } {
  return { count: 0, bytes: 0 };
}
