/**
 * A backup: session, index, parent, walk, packs, index objects, snapshot. The snapshot is the only
 * commit; whatever stops the run before it leaves garbage, which the next run reuses or prune collects.
 */
import { resolve } from "node:path";
import { lstatSync } from "node:fs";
import { fromHex, toHex } from "../../../bytes.ts";
import { FailedError, UsageError } from "../../../errors.ts";
import { nameToBytes } from "../../../names.ts";
import type { TrafficCounts } from "../../../storage/index.ts";
import type { BlobIndex } from "../../blob-index/index.ts";
import { IndexWriter } from "../../blob-index/index.ts";
import {
  type BaseCache,
  BlobWriter,
  type BlobWriterOptions,
  type CompressionLevel,
  DeltaBases,
  Hooks,
} from "../../blobs/index.ts";
import type { DirectoryContent, DirectoryEntry, Snapshot } from "../../format/index.ts";
import { commitSnapshot } from "../commit.ts";
import { progressIntervalMs, repeat } from "../environment.ts";
import { releasedMarks } from "../released-marks.ts";
import { KindCache } from "../kind-cache.ts";
import type { Repository } from "../repository.ts";
import { Session } from "../sessions.ts";
import { readableSnapshots, resolveSnapshot, type StoredSnapshot } from "../snapshots.ts";
import { fullStanding, loadStandings } from "../standing.ts";
import { filePieces, type NodeSource } from "../tree-reader.ts";
import { BaseFinder } from "./base-finder.ts";
import { deltaSource, openBaseCache } from "./delta-source.ts";
import type { ReadChunk } from "./changed-image.ts";
import { LocalNodes } from "./local-nodes.ts";
import { MeteredStorage } from "./metered-storage.ts";
import type { BackupHooks, BackupOptions, BackupSummary, DeltaSource } from "./options.ts";
import { ParentImage } from "./parent-image.ts";
import { ParentDirectory } from "./parent.ts";
import { backUpStream } from "./stream-backup.ts";
import { StoredContent } from "./stored-content.ts";
import { Tally } from "./tally.ts";
import { backUpTree, type TreeBackupContext } from "./tree-backup.ts";
import type { StoreTree } from "../tree-writer.ts";
import { WriterChain } from "./writer-chain.ts";

const warningsKept = 100;

/**
 * @throws {FailedError} when nothing could be read at all, or the run was locked out by a collector;
 *   what was left out otherwise is in the summary
 */
export async function backup(
  repository: Repository,
  options: BackupOptions,
  hooks: BackupHooks = {},
): Promise<BackupSummary> {
  assertSourcesNamed(options);
  const run = new BackupRun(repository, options, hooks);
  let session: Session | undefined;
  let stopShowing: (() => void) | undefined;
  try {
    // A dry run writes nothing, not even a session: what it finds may be gone when it matters.
    if (options.dryRun !== true) session = await Session.start(repository, "writer");
    stopShowing =
      hooks.onProgress &&
      repeat(repository.environment.clock, progressIntervalMs, () => {
        run.showProgress();
      });
    const summary = await run.execute(session);
    await session?.endCommitted();
    await options.disks?.close();
    return summary;
  } catch (error) {
    options.stream?.cancel?.();
    await options.disks?.close(error);
    await session?.abort();
    throw error;
  } finally {
    stopShowing?.();
  }
}

/** An empty word is a script's variable that was not set: as a path it would be the working directory. */
function assertSourcesNamed({ paths, stream }: BackupOptions): void {
  if (paths.includes("")) {
    throw new UsageError("Cannot back up an empty path", {
      hint: 'A variable that is not set? Write "." for the working directory',
    });
  }
  if (stream !== undefined && resolve("/", stream.filename) === "/") {
    throw new UsageError(`Cannot keep bytes in a file named "${stream.filename}"`);
  }
}

interface Parent {
  readonly id: string;
  readonly source: NodeSource;
  readonly root: Uint8Array;
}

class BackupRun {
  readonly #repository: Repository;
  readonly #options: BackupOptions;
  readonly #hooks: BackupHooks;
  readonly #tally: Tally;
  readonly #deltaSource: DeltaSource;
  readonly #startedMs: number;
  readonly #hostname: string;
  readonly #paths: readonly string[];

  constructor(repository: Repository, options: BackupOptions, hooks: BackupHooks) {
    const { environment } = repository;
    this.#repository = repository;
    this.#options = options;
    this.#hooks = hooks;
    this.#tally = new Tally(hooks, expectedBytes(options), environment.traffic);
    this.#deltaSource = deltaSource(repository, options);
    this.#startedMs = environment.clock.elapsed();
    this.#hostname = options.hostname ?? environment.hostname;
    this.#paths = snapshotPaths(options);
  }

  showProgress(): void {
    this.#tally.show();
  }

  async execute(session: Session | undefined): Promise<BackupSummary> {
    const { storage, role } = this.#repository;
    const chain = new WriterChain(this.#repository);
    // At once: from far away each answer takes its time.
    const [fault, index, known] = await Promise.all([
      chain.missingLast(),
      this.#repository.writersIndex(),
      role === "full" ? readableSnapshots(this.#repository) : [],
    ]);
    if (fault !== undefined) this.#tally.warn(fault);
    session?.acknowledgeMarks(() => releasedMarks(this.#repository, index));
    using nodes = role === "backup" ? this.#localNodes() : undefined;
    const parent = await this.#findParent(known, nodes);

    const metered = new MeteredStorage(storage, {
      discard: session === undefined,
      // A machine that slept is dead to a collector: what it stores then may be taken for garbage.
      beforePut: () => session?.assertAlive(),
    });
    const indexWriter = this.#indexWriter(metered, session, index);
    const cache = this.#openBaseCache(index);
    const keepPack = session === undefined ? undefined : cache?.add.bind(cache);
    const writer = await this.#blobWriter(metered, indexWriter, index, keepPack);
    const hooks = this.#openHooks(metered, index);
    try {
      const stored = new StoredContent(this.#repository, index, parent);
      const root = await this.#store(
        writer,
        parent,
        nodes,
        stored,
        index,
        await this.#baseFinder(hooks, cache, index),
      );
      await writer.flush();
      await hooks?.write();
      cache?.trim();
      // A night without anything new leaves the index as it is: merging would be most of what it costs.
      if (session !== undefined && indexWriter.written.length > 0)
        await indexWriter.mergeOwn(index);
      if (session !== undefined) await KindCache.add(this.#repository, indexWriter.written);
      const own = known.filter((snapshot) => snapshot.writer === this.#repository.writer.writerId);
      const link = await chain.next(own);
      const summary = this.#summary(writer, metered, parent);
      const snapshot = this.#snapshot(root, link, parent, session, summary);
      if (session === undefined) return { ...summary, snapshotId: undefined };
      await this.#options.disks?.verify();
      this.#hooks.signal?.throwIfAborted();
      const id = await commitSnapshot(this.#repository, session, snapshot, metered);
      await this.#options.disks?.committed(id);
      await chain.remember(id, link.sequence);
      await stored.remember(id);
      await nodes?.commit(
        { snapshot: id, tree: toHex(root.node), hostname: this.#hostname, paths: this.#paths },
        root.node,
      );
      return {
        ...summary,
        snapshotId: id,
        bytesStored: metered.bytesPut,
        traffic: this.#trafficNow(),
      };
    } catch (error) {
      await writer.abort(error instanceof Error ? error : new Error(String(error)));
      // What is durable is made findable, so that the next run need not send it again.
      if (session !== undefined) await indexWriter.write().catch(() => undefined);
      throw error;
    } finally {
      await writer.close();
    }
  }

  async #store(
    writer: BlobWriter,
    parent: Parent | undefined,
    nodes: LocalNodes | undefined,
    stored: StoredContent,
    index: BlobIndex,
    bases: BaseFinder | undefined,
  ): Promise<DirectoryContent> {
    const { environment, settings } = this.#repository;
    const nodeBases = await this.#nodeBases(index, nodes ?? parent?.source);
    const storeTree: StoreTree = async (node, findBefore) => {
      // Looking for what stood there before may be a request: not where nothing is stored against it.
      const findBases =
        nodeBases &&
        (async () => {
          const before = await findBefore?.();
          return before === undefined ? [] : nodeBases.known([{ id: before }]);
        });
      const id = await writer.storeTree(node, findBases);
      nodes?.add(id, node);
      return id;
    };
    const { stream } = this.#options;
    if (stream !== undefined)
      return backUpStream(
        { writer, storeTree, tally: this.#tally, environment, signal: this.#hooks.signal },
        stream,
      );
    const context: TreeBackupContext = {
      writer,
      storeTree,
      settings,
      lanes: environment.lanes,
      parent: parent === undefined ? undefined : this.#parentDirectory(parent),
      bases,
      parentImage:
        parent === undefined
          ? undefined
          : (entry) => new ParentImage(parent.source, entry, settings),
      isStored: (entry) => stored.holds(entry),
      readChunk: await this.#readChunk(),
      tally: this.#tally,
      signal: this.#hooks.signal,
    };
    if (this.#options.disks !== undefined) {
      const { backUpDisks } = await import("./disk-backup.ts");
      const more = {
        nowNs: BigInt(Math.trunc(environment.clock.now())) * 1_000_000n,
        share: this.#options.share,
        audit: this.#options.audit ?? 0,
        random: (bytes: number) => environment.random.bytes(bytes),
        pieces: (entry: DirectoryEntry) => filePieces(parent!.source, entry, settings),
      };
      return backUpDisks({ ...context, ...more }, this.#options.disks);
    }
    const { root, missing } = await backUpTree(context, this.#options);
    if (missing >= this.#options.paths.length) {
      throw new FailedError("Cannot back up: none of the paths exists", {
        hint: "Check the paths; nothing was stored",
      });
    }
    return root;
  }

  /** From a repository that is far a chunk costs more than from the disk. What is read becomes a base. */
  async #readChunk(): Promise<ReadChunk | undefined> {
    const { role, storage } = this.#repository;
    if (role !== "full" || !storage.traits.local) return undefined;
    const reader = await this.#repository.reader();
    return (id) => reader.readBase(id);
  }

  get #makesDeltas(): boolean {
    return this.#deltaSource === "repository" || this.#deltaSource === "base cache";
  }

  #openHooks(storage: MeteredStorage, index: BlobIndex): Hooks | undefined {
    const { id: repoId, environment } = this.#repository;
    if (this.#deltaSource !== "repository") return undefined;
    return new Hooks({
      storage,
      keys: this.#repository.fullKeys,
      repoId,
      random: environment.random,
      objects: () => index.protocolObjects().filter(({ kind }) => kind === "hooks"),
      signal: this.#hooks.signal,
    });
  }

  async #baseFinder(
    hooks: Hooks | undefined,
    cache: BaseCache | undefined,
    index: BlobIndex,
  ): Promise<BaseFinder | undefined> {
    if (!this.#makesDeltas) return undefined;
    const reader = cache === undefined ? await this.#repository.reader() : undefined;
    const read = (id: Uint8Array): Promise<Uint8Array | undefined> =>
      cache?.read(id) ?? reader!.readBase(id);
    const depthMost = (await this.#repository.writeSettings()).delta.depth;
    return new BaseFinder(new DeltaBases({ index, read, depthMost }), hooks, index);
  }

  #openBaseCache(index: BlobIndex): BaseCache | undefined {
    const { baseCache } = this.#options;
    if (this.#deltaSource !== "base cache" || baseCache === undefined) return undefined;
    return openBaseCache(this.#repository, baseCache, index, (error) => {
      const text = `Cannot keep copies in base cache ${baseCache.folder}: ${error.message}. Later nights are stored without deltas against this one`;
      this.#tally.warn(text, false);
    });
  }

  /** Nodes are stored against those of the parent where these are at hand. */
  async #nodeBases(
    index: BlobIndex,
    source: NodeSource | undefined,
  ): Promise<DeltaBases | undefined> {
    const { role, storage } = this.#repository;
    const isNear = role === "backup" || storage.traits.local || this.#makesDeltas;
    if (source === undefined || !isNear || this.#options.delta === "never") return undefined;
    const depthMost = (await this.#repository.writeSettings()).delta.depth;
    return new DeltaBases({ index, cls: "tree", read: (id) => source.readTree(id), depthMost });
  }

  #parentDirectory({ id, source, root }: Parent): ParentDirectory {
    return new ParentDirectory(source, root, (error) => {
      this.#tally.warn(
        `Cannot compare with parent ${id.slice(0, 8)}: ${error.message}. What it held there is read again`,
        false,
      );
    });
  }

  #localNodes(): LocalNodes | undefined {
    const source = { hostname: this.#hostname, paths: this.#paths };
    return LocalNodes.open(this.#repository, source);
  }

  /** The newest snapshot of this host and these paths, or the one that was named. */
  async #findParent(
    known: readonly StoredSnapshot[],
    nodes: LocalNodes | undefined,
  ): Promise<Parent | undefined> {
    const { parent: wanted } = this.#options;
    if (this.#repository.role === "backup") {
      const local = nodes?.parent;
      const fits =
        local !== undefined &&
        (wanted === undefined ? this.#isSameSource(local) : local.snapshot.startsWith(wanted));
      return fits ? { id: local.snapshot, source: nodes!, root: fromHex(local.tree) } : undefined;
    }
    const snapshot =
      wanted === undefined
        ? await this.#newestOfSource(known)
        : await resolveSnapshot(this.#repository, wanted);
    if (snapshot === undefined) return undefined;
    return {
      id: snapshot.id,
      source: await this.#repository.reader(),
      root: fromHex(snapshot.tree),
    };
  }

  /** Not what another backup key wrote: files that look as they did then are not read again. */
  async #newestOfSource(known: readonly StoredSnapshot[]): Promise<StoredSnapshot | undefined> {
    const standings = await loadStandings(this.#repository);
    const own = this.#repository.writer.writerId;
    return known.findLast(
      (candidate) =>
        this.#isSameSource(candidate) &&
        (candidate.writer === own || standings.of(candidate) === fullStanding),
    );
  }

  #isSameSource(other: { readonly hostname: string; readonly paths: readonly string[] }): boolean {
    const sorted = (paths: readonly string[]): string => JSON.stringify([...paths].sort());
    return other.hostname === this.#hostname && sorted(other.paths) === sorted(this.#paths);
  }

  #indexWriter(
    storage: MeteredStorage,
    session: Session | undefined,
    index: BlobIndex,
  ): IndexWriter {
    const { keys, id: repoId, writer, environment } = this.#repository;
    return new IndexWriter({
      storage,
      keys,
      repoId,
      writer,
      random: environment.random,
      session: session === undefined ? undefined : fromHex(session.id),
      clock: () => environment.clock.elapsed(),
      // The cache must not learn of packs that a dry run only pretends to store.
      index: session === undefined ? undefined : index,
      // No signal: an interrupted run still writes down what it has stored.
    });
  }

  get #level(): CompressionLevel {
    const level = this.#options.compression ?? "auto";
    return level === "auto" && !this.#makesDeltas ? "thorough" : level;
  }

  async #blobWriter(
    storage: MeteredStorage,
    indexWriter: IndexWriter,
    index: BlobIndex,
    keepPack: BlobWriterOptions["keepPack"],
  ): Promise<BlobWriter> {
    const { keys, id: repoId, environment } = this.#repository;
    return BlobWriter.open({
      storage,
      keys,
      repoId,
      index,
      indexWriter,
      settings: await this.#repository.writeSettings(),
      random: environment.random,
      clock: () => environment.clock.elapsed(),
      lanes: environment.lanes,
      level: this.#level,
      signal: this.#hooks.signal,
      keepPack,
      hooks: this.#deltaSource === "repository",
    });
  }

  #trafficNow(): TrafficCounts | undefined {
    const { traffic } = this.#repository.environment;
    return traffic === undefined ? undefined : { ...traffic };
  }

  #summary(
    writer: BlobWriter,
    metered: MeteredStorage,
    parent: Parent | undefined,
  ): Omit<BackupSummary, "snapshotId"> {
    const tally = this.#tally;
    const { stats } = writer;
    return {
      parent: parent?.id,
      filesNew: tally.filesNew,
      filesChanged: tally.filesChanged,
      filesUnmodified: tally.filesUnmodified,
      bytesTotal: tally.bytesTotal,
      bytesRead: stats.bytesRead,
      bytesNew: stats.bytesNew,
      bytesStored: metered.bytesPut,
      traffic: this.#trafficNow(),
      chunksNew: stats.chunksNew,
      chunksDelta: stats.chunksDelta,
      deltaBases: this.#deltaSource,
      durationSeconds: (this.#repository.environment.clock.elapsed() - this.#startedMs) / 1000,
      warnings: tally.warnings,
      isIncomplete: tally.isIncomplete,
    };
  }

  #snapshot(
    root: DirectoryContent,
    link: { readonly sequence: number; readonly previous: string | undefined },
    parent: Parent | undefined,
    session: Session | undefined,
    summary: Omit<BackupSummary, "snapshotId">,
  ): Snapshot {
    const { environment, writer } = this.#repository;
    const { user } = environment;
    return {
      time: new Date(this.#options.timeMs ?? environment.clock.now()).toISOString(),
      hostname: this.#hostname,
      username: user.name,
      uid: Math.max(0, user.uid),
      gid: Math.max(0, user.gid),
      paths: this.#paths,
      tags: [...new Set(this.#options.tags ?? [])],
      excludes: this.#options.excludes ?? [],
      tree: toHex(root.node),
      ...(parent === undefined ? {} : { parent: parent.id }),
      writer: writer.writerId,
      sequence: link.sequence,
      ...(link.previous === undefined ? {} : { previous: link.previous }),
      session: session?.id ?? toHex(new Uint8Array(16)),
      tool: environment.tool,
      warnings: { count: summary.warnings.length, first: summary.warnings.slice(0, warningsKept) },
      summary: {
        filesNew: summary.filesNew,
        filesChanged: summary.filesChanged,
        filesUnmodified: summary.filesUnmodified,
        bytesTotal: summary.bytesTotal,
        bytesRead: summary.bytesRead,
        bytesNew: summary.bytesNew,
        bytesStored: summary.bytesStored,
        chunksNew: summary.chunksNew,
        chunksDelta: summary.chunksDelta,
      },
    };
  }
}

function snapshotPaths({ stream, disks, paths, cwd }: BackupOptions): readonly string[] {
  if (disks !== undefined) return disks.paths;
  return stream === undefined
    ? paths.map((path) => resolve(cwd, path))
    : [resolve("/", stream.filename)];
}

/** Known beforehand where files are named, as images mostly are. */
function expectedBytes({ stream, disks, paths, cwd }: BackupOptions): number | undefined {
  if (stream !== undefined || disks !== undefined) return undefined;
  let total = 0;
  for (const path of paths) {
    const stat = lstatSync(nameToBytes(resolve(cwd, path)), { throwIfNoEntry: false });
    if (stat?.isFile() !== true) return undefined;
    total += stat.size;
  }
  return total;
}
