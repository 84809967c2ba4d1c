/**
 * For each snapshot that needs what is lost: a new one without the files and folders that are hurt.
 *
 * What is left out is listed in the new snapshot's warnings. The broken one stays, unless it is to be
 * forgotten: after `repair index` a backup of the same files may still bring its chunks back.
 */
import { fromHex, toHex } from "../../../bytes.ts";
import { type BlobIndex, IndexWriter } from "../../blob-index/index.ts";
import { BlobReader, BlobWriter } from "../../blobs/index.ts";
import { BlobAvailability } from "../check/blob-availability.ts";
import { condemnedPacks } from "../check/damaged-packs.ts";
import { listedPacks, listPacks, openFullIndex } from "../check/open-index.ts";
import { ReachableCheck } from "../check/reachable.ts";
import { loadProtocol } from "../protocol.ts";
import type { Repository } from "../repository.ts";
import { rewriteSnapshot } from "../rewrite-snapshot.ts";
import { needsFullKey } from "../sealed-records.ts";
import { Session } from "../sessions.ts";
import { listSnapshots, removeSnapshots, type StoredSnapshot } from "../snapshots.ts";
import { cutTree } from "./cut-tree.ts";
import type { RepairHooks } from "./repair-index.ts";

export interface RepairSnapshotsOptions {
  /** Ids; absent: all that are hurt. */
  readonly snapshots?: readonly string[] | undefined;
  readonly forget?: boolean | undefined;
  readonly dryRun?: boolean | undefined;
}

export interface RepairedSnapshot {
  readonly id: string;
  readonly hostname: string;
  readonly time: string;
  /** The new snapshot; undefined for a dry run, or when nothing is left. */
  readonly repairedId: string | undefined;
  readonly cutCount: number;
  /** Paths left out, the first of them. */
  readonly cut: readonly string[];
  /** Not even its root folder can be read. */
  readonly isLost: boolean;
}

export interface RepairSnapshotsSummary {
  readonly snapshotCount: number;
  readonly repaired: readonly RepairedSnapshot[];
  readonly forgotten: readonly string[];
}

const cutsListed = 1000;
const warningsKept = 100;
export const repairedTag = "repaired";

export async function repairSnapshots(
  repository: Repository,
  options: RepairSnapshotsOptions = {},
  hooks: RepairHooks = {},
): Promise<RepairSnapshotsSummary> {
  if (repository.role !== "full") throw needsFullKey("Cannot repair");
  const { snapshots, damaged } = await listSnapshots(repository);
  const session = options.dryRun === true ? undefined : await Session.start(repository, "writer");
  const index = await openFullIndex(repository, hooks.signal);
  try {
    await index.restrictToListed(listedPacks(await listPacks(repository, hooks.signal)));
    const isWanted = (id: string): boolean =>
      options.snapshots?.some((prefix) => id.startsWith(prefix)) ?? true;
    const wanted = snapshots.filter(({ id }) => isWanted(id));
    const run = new SnapshotRepair(repository, index, session, hooks);
    const summary = await run.execute(snapshots, wanted, options);
    const unreadable = damaged.map(({ name }) => name).filter(isWanted);
    const removed = await removeUnreadable(repository, unreadable, options);
    await session?.end();
    return { ...summary, forgotten: [...summary.forgotten, ...removed] };
  } catch (error) {
    await session?.abort();
    throw error;
  } finally {
    index.close();
  }
}

/**
 * What is no snapshot at all: damaged, or put there by somebody who could put and had no key. While it
 * is there nobody knows what it needs, and prune does nothing.
 */
async function removeUnreadable(
  repository: Repository,
  names: readonly string[],
  options: RepairSnapshotsOptions,
): Promise<string[]> {
  const removed: string[] = [];
  for (const name of names) {
    if (options.forget !== true) {
      repository.environment.warn(
        `Snapshot ${name.slice(0, 8)} cannot be read: --forget removes it`,
      );
      continue;
    }
    if (options.dryRun !== true) await repository.storage.delete("snapshots", name);
    removed.push(name);
  }
  return removed;
}

class SnapshotRepair {
  readonly #repository: Repository;
  readonly #index: BlobIndex;
  readonly #session: Session | undefined;
  readonly #hooks: RepairHooks;

  constructor(
    repository: Repository,
    index: BlobIndex,
    session: Session | undefined,
    hooks: RepairHooks,
  ) {
    this.#repository = repository;
    this.#index = index;
    this.#session = session;
    this.#hooks = hooks;
  }

  async execute(
    all: readonly StoredSnapshot[],
    wanted: readonly StoredSnapshot[],
    options: RepairSnapshotsOptions,
  ): Promise<RepairSnapshotsSummary> {
    const { storage, fullKeys: keys, id: repoId, settings } = this.#repository;
    const index = this.#index;
    const { signal } = this.#hooks;
    const source = await BlobReader.open({ storage, keys, repoId, index, lanes: 0, signal });
    const availability = new BlobAvailability(index);
    const protocol = await loadProtocol(this.#repository, ["mark"]);
    for (const name of condemnedPacks(protocol)) availability.markDamagedPack(name);
    const onHurt = (): void => undefined;
    const check = new ReachableCheck({ source, index, availability, settings, signal, onHurt });
    const repaired: RepairedSnapshot[] = [];
    try {
      const own = all.filter(({ writer }) => writer === this.#repository.writer.writerId);
      for (const snapshot of wanted) {
        if (await check.snapshot(snapshot)) continue;
        repaired.push(await this.#repair(snapshot, source, check, own));
      }
    } finally {
      await source.close();
    }
    const forgotten = options.forget === true ? await this.#forget(wanted, repaired) : [];
    return { snapshotCount: wanted.length, repaired, forgotten };
  }

  async #repair(
    snapshot: StoredSnapshot,
    source: BlobReader,
    check: ReachableCheck,
    own: StoredSnapshot[],
  ): Promise<RepairedSnapshot> {
    const { id, hostname, time } = snapshot;
    const cut: string[] = [];
    let cutCount = 0;
    const onCut = (path: string): void => {
      cutCount++;
      if (cut.length < cutsListed) cut.push(path);
    };
    const { signal } = this.#hooks;
    const root = fromHex(snapshot.tree);
    const result = (node: Uint8Array | undefined, repairedId?: string): RepairedSnapshot => ({
      id,
      hostname,
      time,
      repairedId,
      cutCount,
      cut,
      isLost: node === undefined,
    });
    if (this.#session === undefined) {
      const storeTree = (): Promise<Uint8Array> => Promise.resolve(new Uint8Array(32));
      const node = await cutTree({ source, check, storeTree, onCut, signal }, root, "");
      return result(node);
    }
    const { writer, indexWriter } = await this.#blobWriter(this.#session);
    try {
      const storeTree = (bytes: Uint8Array): Promise<Uint8Array> => writer.storeTree(bytes);
      const node = await cutTree({ source, check, storeTree, onCut, signal }, root, "");
      if (node === undefined) return result(node);
      await writer.flush();
      await indexWriter.write();
      const stored = await this.#commit(this.#session, snapshot, node, { cut, cutCount }, own);
      return result(node, stored.id);
    } finally {
      await writer.close();
    }
  }

  async #blobWriter(session: Session): Promise<{ writer: BlobWriter; indexWriter: IndexWriter }> {
    const { storage, keys, id: repoId, settings, environment, writer } = this.#repository;
    const clock = (): number => environment.clock.elapsed();
    const { random } = environment;
    const index = await this.#repository.writersIndex();
    const indexWriter = new IndexWriter({
      ...{ storage, keys, repoId, writer, random, clock, index },
      session: fromHex(session.id),
    });
    const blobWriter = await BlobWriter.open({
      ...{ storage, keys, repoId, index, indexWriter, settings, random, clock },
      lanes: 0,
      level: "auto",
    });
    return { writer: blobWriter, indexWriter };
  }

  #commit(
    session: Session,
    broken: StoredSnapshot,
    root: Uint8Array,
    { cut, cutCount }: { readonly cut: readonly string[]; readonly cutCount: number },
    own: StoredSnapshot[],
  ): Promise<StoredSnapshot> {
    const left = cut.map((path) => `Left out by repair: ${path}`);
    const changes = {
      tree: toHex(root),
      tags: [...new Set([...broken.tags, repairedTag])],
      warnings: {
        count: broken.warnings.count + cutCount,
        first: [...left, ...broken.warnings.first].slice(0, warningsKept),
      },
    };
    return rewriteSnapshot(this.#repository, session, broken, changes, own);
  }

  async #forget(
    snapshots: readonly StoredSnapshot[],
    repaired: readonly RepairedSnapshot[],
  ): Promise<string[]> {
    const broken = snapshots.filter(({ id }) => repaired.some((result) => result.id === id));
    if (this.#session !== undefined) {
      const replacedBy = new Map(
        repaired.flatMap(({ id, repairedId }) =>
          repairedId === undefined ? [] : [[id, repairedId] as const],
        ),
      );
      await removeSnapshots(this.#repository, broken, replacedBy);
    }
    return broken.map(({ id }) => id);
  }
}
