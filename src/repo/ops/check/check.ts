/**
 * Checks a repository: every object can be opened and is signed, every pack is where the index says,
 * everything that a snapshot needs is there. With `readData` packs are read too, and what is in them
 * is held against their names, their footers, the index and every blob's id.
 *
 * Changes nothing but its own session. Memory: two packs, one bit a blob, a digest a pack.
 */
import { toHex } from "../../../bytes.ts";
import type { BlobIndex } from "../../blob-index/index.ts";
import { BlobReader } from "../../blobs/index.ts";
import { WriterChain } from "../backup/writer-chain.ts";
import { LocalHints } from "../local-hints.ts";
import { hiddenPacks, loadProtocol, type Protocol } from "../protocol.ts";
import type { Repository } from "../repository.ts";
import { needsFullKey } from "../sealed-records.ts";
import { Session } from "../sessions.ts";
import {
  listSnapshots,
  loadSnapshot,
  type SnapshotList,
  type StoredSnapshot,
} from "../snapshots.ts";
import { BlobAvailability } from "./blob-availability.ts";
import { checkChains, highestSeen, type SeenSnapshot } from "./chains.ts";
import { condemnedPacks, saveDamagedPacks } from "./damaged-packs.ts";
import { FaultLog } from "./fault-log.ts";
import { IndexFacts } from "./index-facts.ts";
import { listedPacks, listPacks, openFullIndex } from "./open-index.ts";
import {
  type CheckHooks,
  type CheckOptions,
  type CheckReport,
  type DamagedPack,
  reportLimits,
} from "./options.ts";
import { type DamagedEntry, PackChecker } from "./pack-check.ts";
import { allClaimed, readPacks } from "./pack-reading.ts";
import { planReading } from "./read-plan.ts";
import { ReachableCheck } from "./reachable.ts";
import { checkConfig, checkKeys, checkNames, checkSessions } from "./stored-objects.ts";
import { VerifiedPacks } from "./verified-packs.ts";

export async function check(
  repository: Repository,
  options: CheckOptions = {},
  hooks: CheckHooks = {},
): Promise<CheckReport> {
  if (repository.role !== "full") throw needsFullKey("Cannot check");
  for (let round = 1; ; round++) {
    const { report, isOutdated } = await checkOnce(repository, options, hooks);
    // What a prune has moved, or a forget dropped, while this looked is no damage.
    if (report.errors.length === 0 || round === roundsMax || !(await isOutdated())) return report;
  }
}

const roundsMax = 4;

interface CheckRound {
  readonly report: CheckReport;
  /** Whether something is gone that was there when it began. */
  readonly isOutdated: () => Promise<boolean>;
}

async function checkOnce(
  repository: Repository,
  options: CheckOptions,
  hooks: CheckHooks,
): Promise<CheckRound> {
  const list = await listSnapshots(repository);
  const pins = list.snapshots.map(({ id }) => id);
  const session =
    options.readData === undefined ? undefined : await Session.startReader(repository, pins);
  const index = await openFullIndex(repository, hooks.signal);
  const indexObjects = index.indexObjects().map(({ name }) => name);
  try {
    const report = await new CheckRun(repository, index, options, hooks).execute(list);
    await session?.end();
    const isOutdated = async (): Promise<boolean> =>
      !(await areListed(repository, "snapshots", pins)) ||
      !(await areListed(repository, "index", indexObjects));
    return { report, isOutdated };
  } catch (error) {
    await session?.abort();
    throw error;
  } finally {
    index.close();
  }
}

async function areListed(
  { storage }: Repository,
  kind: "index" | "snapshots",
  names: readonly string[],
): Promise<boolean> {
  const missing = new Set(names);
  for await (const { name } of storage.list(kind)) missing.delete(name);
  return missing.size === 0;
}

interface PackCounts {
  readonly listed: ReadonlyMap<string, number>;
  readonly unindexed: number;
  readonly marked: number;
}

class CheckRun {
  readonly #repository: Repository;
  readonly #index: BlobIndex;
  readonly #options: CheckOptions;
  readonly #hooks: CheckHooks;
  readonly #log = new FaultLog();
  readonly #damagedPacks = new Map<string, DamagedPackNotes>();
  /** Named by the index, neither listed nor marked. */
  readonly #missing = new Set<string>();
  #packsRead = 0;
  #bytesRead = 0;
  #bytesTotal: number | undefined;
  #snapshotsDone = 0;

  constructor(repository: Repository, index: BlobIndex, options: CheckOptions, hooks: CheckHooks) {
    this.#repository = repository;
    this.#index = index;
    this.#options = options;
    this.#hooks = hooks;
  }

  async execute(list: SnapshotList): Promise<CheckReport> {
    const repository = this.#repository;
    this.#progress("objects");
    const protocol = await loadProtocol(repository);
    await this.#checkObjects(list, protocol);
    const facts = await IndexFacts.load(this.#index);
    for (const { name, error } of this.#index.damaged)
      this.#log.error({ kind: "index", object: name, message: error.message });
    // The cache knows hook objects by name: none is read again for the index's own sake.
    const hooks = new Set(
      this.#index
        .protocolObjects()
        .filter(({ kind }) => kind === "hooks")
        .map(({ name }) => name),
    );
    for await (const fault of checkNames(repository, "index", "record", (name) => hooks.has(name)))
      this.#log.error(fault);
    const marked = hiddenPacks(protocol);
    const packs = await this.#checkPackList(facts, marked);
    const availability = new BlobAvailability(this.#index);
    for (const name of condemnedPacks(protocol)) availability.markDamagedPack(name);
    await using reader = await CheckReader.open(repository, this.#index, this.#hooks.signal);
    for (const [name, notes] of this.#damagedPacks) {
      if (!notes.isUnreadable) continue;
      notes.damaged = await allClaimed({ index: this.#index, facts }, name);
      availability.markDamagedPack(name);
    }
    await this.#readData(facts, packs.listed, marked, availability, reader.blobs);
    await this.#walk(list.snapshots, availability, reader.blobs);
    this.#judgeMissing();
    return this.#report(list, facts, packs, availability);
  }

  async #checkObjects(list: SnapshotList, protocol: Protocol): Promise<void> {
    const repository = this.#repository;
    const registry = await repository.writerRegistry();
    for (const faults of [
      checkConfig(repository),
      checkKeys(repository, registry),
      checkSessions(repository),
      checkNames(repository, "snapshots", "snapshot"),
    ]) {
      for await (const fault of faults) this.#log.error(fault);
    }
    const named = new Set(this.#log.errors.map(({ object }) => object));
    for (const { name, error } of list.damaged) {
      if (!named.has(name))
        this.#log.error({
          kind: "snapshot",
          object: name,
          message: `Snapshot ${name}: ${error.message}`,
        });
    }
    for (const { name, error } of protocol.damaged)
      this.#log.error({ kind: "record", object: name, message: error.message });
    await this.#checkChains(list, protocol);
  }

  async #checkChains(list: SnapshotList, protocol: Protocol): Promise<void> {
    const repository = this.#repository;
    const registry = await repository.writerRegistry();
    const fenced = await Promise.all(list.fenced.map((name) => loadSnapshot(repository, name)));
    const snapshots = [...list.snapshots, ...fenced.filter((one) => one !== undefined)];
    const memory = new SeenMemory(repository);
    const seenBefore = await memory.load();
    const { errors, warnings } = checkChains({
      snapshots,
      unreadable: new Set(list.damaged.map(({ name }) => name)),
      forgets: protocol.forgets,
      seenBefore,
      removedAfter: (writer) => registry.removedAfter(writer),
    });
    for (const fault of errors) this.#log.error(fault);
    for (const fault of warnings) this.#log.warn(fault);
    const last = await new WriterChain(repository).missingLast();
    const isKnown =
      last !== undefined && errors.some(({ object }) => last.includes(object!.slice(0, 8)));
    if (last !== undefined && !isKnown) this.#log.error({ kind: "chain", message: last });
    await memory.save(highestSeen(snapshots, seenBefore));
  }

  /**
   * Packs of the index that are listed must have their size; what is listed beside them is no damage.
   * An entry whose pack is not there counts for nothing (R2): a backup that merges index objects while
   * a prune sweeps leaves some. Whether a snapshot misses one, the walk says.
   */
  async #checkPackList(facts: IndexFacts, marked: ReadonlySet<string>): Promise<PackCounts> {
    const listed = await listPacks(this.#repository, this.#hooks.signal);
    await this.#index.restrictToListed(listedPacks(listed));
    for (const [name, claims] of facts.claims) {
      const size = listed.get(name);
      if (size === undefined) {
        if (marked.has(name)) continue;
        this.#damagedPack(name, "it is missing from data/");
        this.#missing.add(name);
        continue;
      }
      const wrong = claims.filter((claim) => claim.size !== size);
      if (wrong.length > 0)
        this.#damagedPack(name, `it has ${size} bytes, not ${wrong[0]!.size} as the index says`);
      else if (claims.length > 1)
        this.#damagedPack(name, "index objects contradict each other about it", false);
    }
    const names = [...listed.keys()];
    return {
      listed,
      unindexed: names.filter((name) => facts.of(name).length === 0).length,
      marked: names.filter((name) => marked.has(name)).length,
    };
  }

  async #readData(
    facts: IndexFacts,
    listed: ReadonlyMap<string, number>,
    marked: ReadonlySet<string>,
    availability: BlobAvailability,
    reader: BlobReader,
  ): Promise<void> {
    const { readData } = this.#options;
    if (readData === undefined) return;
    const repository = this.#repository;
    const { clock, random } = repository.environment;
    const verified = await VerifiedPacks.load(repository);
    const indexed = [...listed].flatMap(([name, size]) =>
      facts.of(name).length === 0 ? [] : [{ name, size }],
    );
    const ties = new Map(indexed.map(({ name }) => [name, randomNumber(random.bytes(4))]));
    const plan = planReading(indexed, readData, verified.times, (name) => ties.get(name) ?? 0);
    this.#bytesTotal = plan.reduce((sum, { size }) => sum + size, 0);
    const checker = new PackChecker(repository, (cls, id) => reader.readBlob(cls, id));
    const { signal } = this.#hooks;
    const context = { repository, index: this.#index, facts, checker, signal };
    for await (const verdict of readPacks(context, plan)) {
      const { name } = verdict.pack;
      if (verdict.bytesRead === undefined) continue;
      this.#packsRead++;
      this.#bytesRead += verdict.bytesRead;
      this.#progress("packs");
      if (verdict.faults.length === 0) {
        verified.add(name, clock.now());
        continue;
      }
      verified.drop(name);
      for (const { id, offset } of verdict.damaged)
        for (const { cls } of facts.of(name)) availability.markDamaged(cls, id, name, offset);
      // It goes, as may have the bases of what nobody needs in it; whom it hurts the walk tells.
      if (marked.has(name)) continue;
      for (const fault of verdict.faults) this.#damagedPack(name, fault);
      const notes = this.#damagedPacks.get(name)!;
      notes.damaged = verdict.damaged;
      notes.liars = verdict.liars;
    }
    await verified.save(listed);
    await saveDamagedPacks(repository, new Set(this.#damagedPacks.keys()));
  }

  async #walk(
    snapshots: readonly StoredSnapshot[],
    availability: BlobAvailability,
    source: BlobReader,
  ): Promise<void> {
    const walker = new ReachableCheck({
      source,
      index: this.#index,
      availability,
      settings: this.#repository.settings,
      signal: this.#hooks.signal,
      onHurt: (snapshot, path, { chunks, bytes, message }) => {
        this.#log.hurt(snapshot, {
          snapshot: snapshot.id,
          path,
          lostChunks: chunks,
          lostBytes: bytes,
          message,
        });
      },
    });
    // Newest first: what is shared with older ones is then named by the snapshot most likely wanted.
    for (const snapshot of snapshots.toReversed()) {
      await walker.snapshot(snapshot);
      this.#snapshotsDone++;
      this.#progress("snapshots");
    }
    for (const { id, hurtCount, time } of this.#log.hurtSnapshots) {
      this.#log.error({
        kind: "snapshot",
        object: id,
        message: `Snapshot ${id.slice(0, 8)} of ${time} cannot be restored whole: ${hurtCount} of its files or folders are hurt`,
      });
    }
  }

  /** Packs that are gone are to blame for what is lost; where nothing is, nothing needed them. */
  #judgeMissing(): void {
    if (this.#log.hurtSnapshots.length > 0) return;
    for (const name of this.#missing) {
      this.#damagedPacks.delete(name);
      this.#log.warn({
        kind: "pack",
        object: name,
        message: `Pack ${name}: the index still names it, it is gone, and no snapshot needs it. To take it out of the index: ashlar repair index`,
      });
    }
  }

  #damagedPack(name: string, fault: string, isUnreadable = true): void {
    const known = this.#damagedPacks.get(name);
    if (known === undefined)
      this.#damagedPacks.set(name, { faults: [fault], damaged: [], liars: [], isUnreadable });
    else if (!known.faults.includes(fault)) known.faults.push(fault);
  }

  #report(
    list: SnapshotList,
    facts: IndexFacts,
    packs: PackCounts,
    availability: BlobAvailability,
  ): CheckReport {
    const damagedPacks: DamagedPack[] = [];
    for (const [name, notes] of this.#damagedPacks) {
      const pack = describePack(name, notes, facts, packs.listed, availability);
      if (damagedPacks.length < reportLimits.packs) damagedPacks.push(pack);
      const message = `Pack ${name}: ${notes.faults.join("; ")}`;
      this.#log.error({ kind: "pack", object: name, writers: pack.writers, message });
    }
    const log = this.#log;
    return {
      errors: log.errors,
      errorCount: log.errorCount,
      warnings: log.warnings,
      damagedPacks,
      hurtSnapshots: log.hurtSnapshots,
      hurtPaths: log.hurtPaths,
      hurtPathCount: log.hurtPathCount,
      snapshotCount: list.snapshots.length,
      fencedCount: list.fenced.length,
      indexObjectCount: facts.objectCount,
      packCount: packs.listed.size,
      packBytes: [...packs.listed.values()].reduce((sum, size) => sum + size, 0),
      unindexedPackCount: packs.unindexed,
      markedPackCount: packs.marked,
      packsRead: this.#packsRead,
      bytesRead: this.#bytesRead,
    };
  }

  #progress(phase: "objects" | "packs" | "snapshots"): void {
    this.#hooks.onProgress?.({
      phase,
      bytesDone: this.#bytesRead,
      bytesTotal: this.#bytesTotal,
      snapshotsDone: this.#snapshotsDone,
    });
  }
}

interface DamagedPackNotes {
  readonly faults: string[];
  damaged: readonly DamagedEntry[];
  liars: readonly string[];
  readonly isUnreadable: boolean;
}

function describePack(
  name: string,
  { faults, damaged, liars }: DamagedPackNotes,
  facts: IndexFacts,
  listed: ReadonlyMap<string, number>,
  availability: BlobAvailability,
): DamagedPack {
  const [claim] = facts.of(name);
  const ids = new Map(damaged.map(({ id }) => [toHex(id), id]));
  const cls = claim?.cls;
  const lost = [...ids.values()].filter(
    (id) => cls !== undefined && !availability.isReadable(cls, id),
  );
  return {
    name,
    cls,
    size: listed.get(name),
    faults,
    writers: liars.length > 0 ? [...new Set(liars)] : facts.writersOf(name),
    blobCount: claim?.blobCount ?? 0,
    damagedCount: ids.size,
    lostCount: lost.length,
    damagedIds: [...ids.keys()].slice(0, reportLimits.idsPerPack),
  };
}

/** A reader on the checker's own index, closed with the check. */
class CheckReader implements AsyncDisposable {
  readonly blobs: BlobReader;

  private constructor(blobs: BlobReader) {
    this.blobs = blobs;
  }

  static async open(
    { storage, fullKeys, id }: Repository,
    index: BlobIndex,
    signal: AbortSignal | undefined,
  ): Promise<CheckReader> {
    const options = { storage, keys: fullKeys, repoId: id, index, lanes: 0, signal };
    return new CheckReader(await BlobReader.open(options));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.blobs.close();
  }
}

/** The newest snapshot of each writer that this host has seen: a storage that goes back is found out (R15). */
class SeenMemory {
  readonly #hints: LocalHints;

  constructor({ environment, idHex }: Repository) {
    this.#hints = new LocalHints(environment, idHex);
  }

  async load(): Promise<Map<string, SeenSnapshot>> {
    try {
      const text = await this.#hints.read("seen-snapshots.json");
      return new Map(Object.entries(JSON.parse(text ?? "{}") as Record<string, SeenSnapshot>));
    } catch {
      return new Map();
    }
  }

  async save(seen: ReadonlyMap<string, SeenSnapshot>): Promise<void> {
    await this.#hints.write("seen-snapshots.json", JSON.stringify(Object.fromEntries(seen)));
  }
}

function randomNumber(bytes: Uint8Array): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
}
