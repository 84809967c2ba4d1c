/**
 * Copies snapshots from one repository into another, oldest first, each committed by itself: what stops
 * the run leaves whole snapshots and garbage that the next run uses.
 *
 * Sessions live in both: in the target a writer's, in the source a reader's that pins what is copied.
 * A copy names the snapshot that it came from as its `original`, so that a later run passes it over.
 */
import { equalBytes, fromHex, toHex } from "../../../bytes.ts";
import { CorruptionError, FailedError, UsageError } from "../../../errors.ts";
import { type BlobIndex, IndexWriter } from "../../blob-index/index.ts";
import { BlobWriter, DeltaBases } from "../../blobs/index.ts";
import { MeteredStorage } from "../backup/metered-storage.ts";
import { StoredContent } from "../backup/stored-content.ts";
import { progressIntervalMs, repeat } from "../environment.ts";
import type { Repository } from "../repository.ts";
import { rewriteSnapshot } from "../rewrite-snapshot.ts";
import { needsFullKey } from "../sealed-records.ts";
import { Session } from "../sessions.ts";
import {
  matchesFilter,
  readableSnapshots,
  resolveAmong,
  type StoredSnapshot,
} from "../snapshots.ts";
import { fullStanding, loadStandings, type Standings } from "../standing.ts";
import type { StoreTree } from "../tree-writer.ts";
import { ChunkCopier } from "./chunk-copier.ts";
import { ContentCopier, type Twin } from "./content-copier.ts";
import type {
  CopiedSnapshot,
  CopyHooks,
  CopyOptions,
  CopyProgress,
  CopySummary,
} from "./options.ts";
import { TreeCopier } from "./tree-copier.ts";

/** @throws {UsageError} {FailedError} when nothing can be copied; single snapshots that fail are in the summary */
export async function copySnapshots(
  source: Repository,
  target: Repository,
  options: CopyOptions = {},
  hooks: CopyHooks = {},
): Promise<CopySummary> {
  assertCopyable(source, target);
  const all = await readableSnapshots(source);
  const wanted = chosen(all, options, source.environment.clock.now());
  if (options.dryRun === true) {
    const there = await Copies.in(target, await readableSnapshots(target), source);
    const missing = wanted.filter((snapshot) => !there.has(snapshot));
    return new CopyRun(source, target, hooks).summary(
      missing.map(({ id }) => ({ sourceId: id, targetId: undefined })),
      wanted.length - missing.length,
    );
  }
  const reading = await Session.startReader(
    source,
    wanted.map(({ id }) => id),
  );
  try {
    const writing = await Session.start(target, "writer");
    const run = new CopyRun(source, target, hooks);
    const stopShowing =
      hooks.onProgress &&
      repeat(target.environment.clock, progressIntervalMs, () => {
        run.showProgress();
      });
    try {
      const summary = await run.execute(writing, all, wanted);
      await writing.endCommitted();
      return summary;
    } catch (error) {
      await writing.abort();
      throw error;
    } finally {
      stopShowing?.();
    }
  } finally {
    await reading?.abort();
  }
}

function assertCopyable(source: Repository, target: Repository): void {
  if (source.role !== "full" || target.role !== "full")
    throw needsFullKey("Cannot copy between repositories");
  if (source.idHex === target.idHex) {
    throw new UsageError("Cannot copy a repository into itself", {
      hint: "-r names where copies go, --from where they come from",
    });
  }
  const shape = ({ settings: { chunker, map } }: Repository): string =>
    `${chunker.image.segmentBytes} ${chunker.image.blockBytes} ${map.fanout}`;
  if (shape(source) !== shape(target)) {
    throw new FailedError("Cannot copy: the repositories divide disk images into unlike segments", {
      hint: "Make the target anew: ashlar init --copy-parameters-from",
    });
  }
}

/** Whether what a host backs up into either is cut the same way. */
function cutAlike(
  { settings: a, keys: aKeys }: Repository,
  { settings: b, keys: bKeys }: Repository,
) {
  return (
    JSON.stringify(a.chunker) === JSON.stringify(b.chunker) &&
    equalBytes(aKeys.cutKey, bKeys.cutKey)
  );
}

function chosen(
  all: readonly StoredSnapshot[],
  { snapshots = [], filter = {} }: CopyOptions,
  nowMs: number,
): StoredSnapshot[] {
  if (snapshots.length === 0) return all.filter((snapshot) => matchesFilter(snapshot, filter));
  const ids = new Set(snapshots.map((wanted) => resolveAmong(all, wanted, filter, nowMs).id));
  return all.filter(({ id }) => ids.has(id));
}

/**
 * What the target has. A copy is taken for one only from a writer that may speak for others: who holds a
 * backup key there could otherwise keep snapshots from being copied, and put other content into copies.
 */
class Copies {
  /** By id, and by the snapshot that it came from. */
  readonly #byOrigin = new Map<string, StoredSnapshot>();
  /** By host, time, size and paths: one run that backed up into both repositories. */
  readonly #runs = new Set<string>();

  readonly #standings: Standings;
  readonly #labelInSource: (snapshot: StoredSnapshot) => string;

  private constructor(standings: Standings, labelInSource: (snapshot: StoredSnapshot) => string) {
    this.#standings = standings;
    this.#labelInSource = labelInSource;
  }

  static async in(
    target: Repository,
    there: readonly StoredSnapshot[],
    source: Repository,
  ): Promise<Copies> {
    const sources = await loadStandings(source);
    const copies = new Copies(await loadStandings(target), (each) => sources.label(each));
    for (const snapshot of there) copies.add(snapshot);
    return copies;
  }

  add(snapshot: StoredSnapshot): void {
    this.#byOrigin.set(snapshot.id, snapshot);
    const isTrusted = this.#standings.of(snapshot) === fullStanding;
    if (isTrusted && snapshot.original !== undefined)
      this.#byOrigin.set(snapshot.original, snapshot);
    this.#runs.add(runOf(snapshot, isTrusted ? undefined : this.#standings.label(snapshot)));
  }

  /** Copies go both ways: what came from the target itself is there as well. */
  has(snapshot: StoredSnapshot): boolean {
    return (
      this.of(snapshot) !== undefined ||
      this.#runs.has(runOf(snapshot)) ||
      this.#runs.has(runOf(snapshot, this.#labelInSource(snapshot)))
    );
  }

  of({ id, original }: Pick<StoredSnapshot, "id" | "original">): StoredSnapshot | undefined {
    return (
      this.#byOrigin.get(id) ?? (original === undefined ? undefined : this.#byOrigin.get(original))
    );
  }

  /** A copy of this very snapshot, all of it: `repair` leaves files out, and counts them as warnings. */
  wholeOf({ id, warnings }: StoredSnapshot): StoredSnapshot | undefined {
    const copy = this.#byOrigin.get(id);
    return copy?.original === id && copy.warnings.count === warnings.count ? copy : undefined;
  }
}

/** @param key  the name that the admin gave to the key of a host: it may have one in each repository */
function runOf({ hostname, time, paths, summary }: StoredSnapshot, key?: string): string {
  return JSON.stringify([key ?? null, hostname, time, summary["bytesTotal"], ...paths]);
}

/** What a killed copy sends twice: the packs since its last index object, these or a ninth of all. */
const packsUnindexedLeast = 4;

class CopyRun {
  readonly #source: Repository;
  readonly #target: Repository;
  readonly #hooks: CopyHooks;
  readonly #startedMs: number;
  /** Ids in the target, of snapshots that are whole beyond doubt. */
  readonly #whole = new Set<string>();
  readonly #failed: { sourceId: string; message: string }[] = [];
  #bytesRead = 0;
  #place: Omit<CopyProgress, "bytesDone"> | undefined;
  #metered: MeteredStorage | undefined;
  #writer: BlobWriter | undefined;
  #chunks: ChunkCopier | undefined;

  constructor(source: Repository, target: Repository, hooks: CopyHooks) {
    this.#source = source;
    this.#target = target;
    this.#hooks = hooks;
    this.#startedMs = target.environment.clock.elapsed();
  }

  async execute(
    session: Session,
    all: readonly StoredSnapshot[],
    wanted: readonly StoredSnapshot[],
  ): Promise<CopySummary> {
    const target = this.#target;
    const index = await target.writersIndex();
    const there = await readableSnapshots(target);
    const copies = await Copies.in(target, there, this.#source);
    const missing = wanted.filter((snapshot) => !copies.has(snapshot));
    const own = there.filter(({ writer }) => writer === target.writer.writerId);
    const copied: CopiedSnapshot[] = [];
    if (missing.length === 0) return this.summary(copied, wanted.length);

    const metered = new MeteredStorage(target.storage, {
      discard: false,
      beforePut: () => {
        session.assertAlive();
      },
    });
    const indexWriter = this.#indexWriter(metered, session, index);
    const writer = await this.#blobWriter(metered, indexWriter, index);
    this.#metered = metered;
    this.#writer = writer;
    const copyTree = await this.#treeCopying(writer, index, missing, copied);
    try {
      for (const snapshot of missing) {
        const earlier = earlierOf(snapshot, all, copies);
        const tree = await copyTree(snapshot, earlier);
        if (tree === undefined) continue;
        await writer.flush();
        this.#hooks.signal?.throwIfAborted();
        const stored = await this.#commit(session, snapshot, tree, copies, own);
        copies.add(stored);
        this.#whole.add(stored.id);
        copied.push({ sourceId: snapshot.id, targetId: stored.id });
        this.#hooks.onCopied?.(copied.at(-1)!);
      }
      if (indexWriter.written.length > 0) await indexWriter.mergeOwn(index);
      const [last, ...others] = [...this.#whole].reverse();
      if (last !== undefined)
        await new StoredContent(target, index, undefined).remember(last, others);
      return this.summary(copied, wanted.length - missing.length);
    } catch (error) {
      await writer.abort(error instanceof Error ? error : new Error(String(error)));
      // What is durable is made findable, so that the next run need not send it again.
      await indexWriter.write().catch(() => undefined);
      throw error;
    } finally {
      await this.#chunks?.close();
      await writer.close();
    }
  }

  /** Also while nothing is read, since what is sent moves on. */
  showProgress(): void {
    if (this.#place !== undefined)
      this.#hooks.onProgress?.({ bytesDone: this.#bytesRead, ...this.#place });
  }

  summary(copied: readonly CopiedSnapshot[], skipped: number): CopySummary {
    const stats = this.#writer?.stats;
    return {
      copied,
      skipped,
      failed: this.#failed,
      bytesRead: this.#bytesRead,
      bytesStored: this.#metered?.bytesPut ?? 0,
      chunksNew: stats?.chunksNew ?? 0,
      chunksDelta: stats?.chunksDelta ?? 0,
      cutsAlike: cutAlike(this.#source, this.#target),
      durationSeconds: (this.#target.environment.clock.elapsed() - this.#startedMs) / 1000,
    };
  }

  /** @returns a function that copies a snapshot's tree; undefined: it is damaged, which was said */
  async #treeCopying(
    writer: BlobWriter,
    index: BlobIndex,
    missing: readonly StoredSnapshot[],
    copied: readonly CopiedSnapshot[],
  ) {
    const [source, target] = [await this.#source.reader(), await this.#target.reader()];
    const { signal, onWarning } = this.#hooks;
    const depthMost = (await this.#target.writeSettings()).delta.depth;
    const chunks = (this.#chunks = new ChunkCopier({
      reader: source,
      writer,
      index,
      depthMost,
      onRead: (bytes) => {
        this.#bytesRead += bytes;
        this.showProgress();
      },
    }));
    const read = (id: Uint8Array): Promise<Uint8Array> => target.readTree(id);
    const nodeBases = new DeltaBases({ index, cls: "tree", read, depthMost });
    // The node of the earlier copy was read a moment ago, to be walked beside this one.
    const storeTree: StoreTree = (node, findBefore) =>
      writer.storeTree(node, async () => {
        const before = await findBefore?.();
        return before === undefined ? [] : nodeBases.known([{ id: before }]);
      });
    const content = new ContentCopier({
      source,
      target,
      storeTree,
      copyChunk: (id) => chunks.copy(id),
      signal,
    });
    return async (
      snapshot: StoredSnapshot,
      earlier: Twin<StoredSnapshot> | undefined,
    ): Promise<Uint8Array | undefined> => {
      this.#place = {
        snapshotsDone: copied.length,
        snapshotsTotal: missing.length,
        current: snapshot.id,
      };
      const twin =
        earlier === undefined
          ? undefined
          : { source: fromHex(earlier.source.tree), target: fromHex(earlier.target.tree) };
      const parent = earlier === undefined ? undefined : { id: earlier.target.id, source: target };
      const stored = new StoredContent(this.#target, index, parent);
      const isFresh = earlier !== undefined && this.#whole.has(earlier.target.id);
      const tree = new TreeCopier({
        source,
        target,
        storeTree,
        content,
        isTwinWhole: async () => {
          if (isFresh) return true;
          const isWhole = await stored.isWhole();
          if (isWhole && earlier !== undefined) this.#whole.add(earlier.target.id);
          return isWhole;
        },
        isStored: async (entry) => isFresh || stored.holds(entry),
        signal,
      });
      try {
        return await tree.copy(fromHex(snapshot.tree), twin);
      } catch (error) {
        if (!(error instanceof CorruptionError)) throw error;
        this.#failed.push({ sourceId: snapshot.id, message: error.message });
        onWarning?.(`Snapshot ${snapshot.id.slice(0, 8)} is not copied: ${error.message}`);
        return undefined;
      }
    };
  }

  #commit(
    session: Session,
    snapshot: StoredSnapshot,
    tree: Uint8Array,
    copies: Copies,
    own: StoredSnapshot[],
  ): Promise<StoredSnapshot> {
    const { parent: sourceParent, ...rest } = snapshot;
    const parent = sourceParent === undefined ? undefined : copies.of({ id: sourceParent });
    const old = parent === undefined ? rest : { ...rest, parent: parent.id };
    return rewriteSnapshot(this.#target, session, old, { tree: toHex(tree) }, own);
  }

  #indexWriter(storage: MeteredStorage, session: Session, index: BlobIndex): IndexWriter {
    const { keys, id: repoId, writer, environment } = this.#target;
    return new IndexWriter({
      storage,
      keys,
      repoId,
      writer,
      random: environment.random,
      session: fromHex(session.id),
      clock: () => environment.clock.elapsed(),
      index,
      dueAfterPacks: (written) => Math.max(packsUnindexedLeast, written / 8),
    });
  }

  async #blobWriter(
    storage: MeteredStorage,
    indexWriter: IndexWriter,
    index: BlobIndex,
  ): Promise<BlobWriter> {
    const { keys, id: repoId, environment } = this.#target;
    return BlobWriter.open({
      storage,
      keys,
      repoId,
      index,
      indexWriter,
      settings: await this.#target.writeSettings(),
      random: environment.random,
      clock: () => environment.clock.elapsed(),
      // Nothing is cut or compressed here.
      lanes: 0,
      level: "auto",
      signal: this.#hooks.signal,
    });
  }
}

/** The newest snapshot of the same host and paths before this one that was copied; else its parent. */
function earlierOf(
  snapshot: StoredSnapshot,
  all: readonly StoredSnapshot[],
  copies: Copies,
): Twin<StoredSnapshot> | undefined {
  const sourceOf = ({ hostname, paths }: StoredSnapshot): string =>
    JSON.stringify([hostname, [...paths].sort()]);
  const wanted = sourceOf(snapshot);
  const before = all.slice(
    0,
    all.findIndex(({ id }) => id === snapshot.id),
  );
  const source =
    before.findLast((other) => sourceOf(other) === wanted && copies.wholeOf(other) !== undefined) ??
    all.find(({ id }) => id === snapshot.parent);
  const target = source === undefined ? undefined : copies.wholeOf(source);
  return source === undefined || target === undefined ? undefined : { source, target };
}
