/**
 * Makes the index say what is true: packs that are gone or damaged are taken out, packs that no
 * readable index object names are put in from their footers, damaged objects are removed.
 *
 * Of a damaged pack the good blobs are first copied to new packs; then a mark condemns it for every
 * host (so that no cached or merged index brings it back, R2) until prune deletes it. The next backup
 * stores again what was lost.
 */
import { toHex } from "../../../bytes.ts";
import { CorruptionError } from "../../../errors.ts";
import { type BlobIndex, IndexWriter } from "../../blob-index/index.ts";
import { BlobReader } from "../../blobs/index.ts";
import { encodeCard, encodeMark, type IndexedPack } from "../../format/index.ts";
import { BlobAvailability } from "../check/blob-availability.ts";
import { damagedReason, loadDamagedPacks, saveDamagedPacks } from "../check/damaged-packs.ts";
import { claimDigest, claimedPack, IndexFacts } from "../check/index-facts.ts";
import { listedPacks, listPacks, openFullIndex } from "../check/open-index.ts";
import { type DamagedEntry, PackChecker } from "../check/pack-check.ts";
import { hiddenPacks, loadProtocol } from "../protocol.ts";
import type { Repository } from "../repository.ts";
import { needsFullKey, putRecord } from "../sealed-records.ts";
import { checkSessions } from "../check/stored-objects.ts";
import type { Session } from "../sessions.ts";
import { startExclusively } from "../collector/exclusive.ts";
import { readFooters } from "./pack-footers.ts";
import { Salvage } from "./salvage.ts";

export interface RepairIndexOptions {
  /** Read every pack whole, not only those that look wrong or that a check found damaged. */
  readonly readAllPacks?: boolean | undefined;
  readonly dryRun?: boolean | undefined;
}

export interface RepairHooks {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: (progress: {
    readonly bytesDone: number;
    readonly bytesTotal: number;
  }) => void;
}

export interface RepairIndexSummary {
  /** Packs put into the index from their footers. */
  readonly packsAdded: readonly string[];
  /** Named by the index and not there. */
  readonly packsMissing: readonly string[];
  /** Read and found damaged: condemned, their good blobs copied. */
  readonly packsDamaged: readonly string[];
  /** In no index object, and no footer can be read: left to prune. */
  readonly packsUnreadable: readonly string[];
  /** Of which the index said what is not so. */
  readonly packsCorrected: readonly string[];
  /** Who signed what was not so. */
  readonly writersBlamed: readonly string[];
  readonly blobsSaved: number;
  readonly blobsLost: number;
  readonly objectsRemoved: readonly string[];
  readonly objectsWritten: readonly string[];
}

export async function repairIndex(
  repository: Repository,
  options: RepairIndexOptions = {},
  hooks: RepairHooks = {},
): Promise<RepairIndexSummary> {
  if (repository.role !== "full") throw needsFullKey("Cannot repair");
  const session = await startExclusively(repository, "repair the index");
  try {
    if (options.dryRun !== true) await mendOwnCard(repository);
    const index = await openFullIndex(repository, hooks.signal);
    try {
      const summary = await new IndexRepair(repository, index, session, options, hooks).execute();
      await session.end();
      return summary;
    } finally {
      index.close();
    }
  } catch (error) {
    await session.abort();
    throw error;
  }
}

/** Without its card nothing that this key signs counts, and a full key can vouch for itself. */
async function mendOwnCard(repository: Repository): Promise<void> {
  const { writer, environment, slotName } = repository;
  const registry = await repository.writerRegistry();
  if (registry.cards.some((card) => card.writer === writer.writerId)) return;
  const card = {
    writer: writer.writerId,
    role: "full",
    signPublic: toHex(writer.signPublic),
    label: `${environment.user.name}@${environment.hostname}`,
    slot: slotName,
    created: new Date(environment.clock.now()).toISOString(),
  } as const;
  await putRecord(repository, "card", encodeCard(card));
  repository.forgetRegistry();
}

class IndexRepair {
  readonly #repository: Repository;
  readonly #index: BlobIndex;
  readonly #session: Session;
  readonly #options: RepairIndexOptions;
  readonly #hooks: RepairHooks;
  readonly #indexWriter: IndexWriter;
  readonly #salvage: Salvage;
  /** Claims that must go, by pack: all of them, or all but the one with this digest. */
  readonly #drop = new Map<string, { readonly keep: string | undefined }>();
  readonly #added: string[] = [];
  readonly #missing: string[] = [];
  readonly #damaged: string[] = [];
  readonly #unreadable: string[] = [];
  readonly #corrected: string[] = [];
  readonly #blamed = new Set<string>();
  #blobsLost = 0;

  constructor(
    repository: Repository,
    index: BlobIndex,
    session: Session,
    options: RepairIndexOptions,
    hooks: RepairHooks,
  ) {
    this.#repository = repository;
    this.#index = index;
    this.#session = session;
    this.#options = options;
    this.#hooks = hooks;
    const { storage, keys, id: repoId, writer, environment } = repository;
    this.#indexWriter = new IndexWriter({
      storage,
      keys,
      repoId,
      writer,
      random: environment.random,
      session: undefined,
      clock: () => environment.clock.elapsed(),
      signal: hooks.signal,
    });
    this.#salvage = new Salvage(repository, this.#indexWriter);
  }

  async execute(): Promise<RepairIndexSummary> {
    const protocol = await loadProtocol(this.#repository);
    const marked = hiddenPacks(protocol);
    const facts = await IndexFacts.load(this.#index);
    const listed = await listPacks(this.#repository, this.#hooks.signal);
    await this.#index.restrictToListed(listedPacks(listed));
    const suspects = await this.#suspects(facts, listed, marked);
    await this.#addUnindexed(facts, listed, marked);
    await this.#examine(suspects, facts, listed);
    const isDry = this.#options.dryRun === true;
    if (!isDry) await this.#salvage.finish();
    const objectsRemoved = await this.#rewrite(facts, protocol.damaged);
    if (!isDry) await this.#forgetDamage(listed);
    return {
      packsAdded: this.#added,
      packsMissing: this.#missing,
      packsDamaged: this.#damaged,
      packsUnreadable: this.#unreadable,
      packsCorrected: this.#corrected,
      writersBlamed: [...this.#blamed],
      blobsSaved: this.#salvage.blobCount,
      blobsLost: this.#blobsLost,
      objectsRemoved,
      objectsWritten: this.#indexWriter.written,
    };
  }

  /** Packs to be read whole. Those that are gone are noted on the way. */
  async #suspects(
    facts: IndexFacts,
    listed: ReadonlyMap<string, number>,
    marked: ReadonlySet<string>,
  ): Promise<string[]> {
    const noted = await loadDamagedPacks(this.#repository);
    const suspects: string[] = [];
    for (const [name, claims] of facts.claims) {
      const size = listed.get(name);
      if (size === undefined) {
        this.#drop.set(name, { keep: undefined });
        if (!marked.has(name)) this.#missing.push(name);
        continue;
      }
      const looksWrong = claims.length > 1 || claims.some((claim) => claim.size !== size);
      if (marked.has(name)) continue; // prune copies what is still needed of it
      if (looksWrong || noted.has(name) || this.#options.readAllPacks === true) suspects.push(name);
    }
    return suspects;
  }

  async #addUnindexed(
    facts: IndexFacts,
    listed: ReadonlyMap<string, number>,
    marked: ReadonlySet<string>,
  ): Promise<void> {
    const unindexed = [...listed].flatMap(([name, size]) =>
      facts.of(name).length === 0 && !marked.has(name) ? [{ name, size }] : [],
    );
    for await (const { pack, footer, fault } of readFooters(this.#repository, unindexed)) {
      this.#hooks.signal?.throwIfAborted();
      if (fault !== undefined) this.#unreadable.push(pack.name);
      if (footer === undefined) continue;
      this.#added.push(pack.name);
      this.#addPack(footer);
    }
  }

  #addPack(pack: IndexedPack): void {
    if (this.#options.dryRun !== true) this.#indexWriter.add(pack);
    this.#index.addPack(pack);
  }

  async #examine(
    suspects: readonly string[],
    facts: IndexFacts,
    listed: ReadonlyMap<string, number>,
  ): Promise<void> {
    const { storage, fullKeys: keys, id: repoId } = this.#repository;
    const index = this.#index;
    const reader = await BlobReader.open({ storage, keys, repoId, index, lanes: 0 });
    const checker = new PackChecker(this.#repository, (cls, id) => reader.readBlob(cls, id));
    const bytesTotal = suspects.reduce((sum, name) => sum + (listed.get(name) ?? 0), 0);
    let bytesDone = 0;
    try {
      for (const name of suspects) {
        this.#hooks.signal?.throwIfAborted();
        const bytes = await storage.get("data", name);
        if (bytes !== undefined) await this.#examinePack(name, bytes, facts, checker);
        bytesDone += bytes?.length ?? 0;
        this.#hooks.onProgress?.({ bytesDone, bytesTotal });
      }
    } finally {
      await reader.close();
    }
  }

  async #examinePack(
    name: string,
    bytes: Uint8Array,
    facts: IndexFacts,
    checker: PackChecker,
  ): Promise<void> {
    const claims = facts.of(name);
    const opened = attempt(() => checker.open(bytes));
    if (opened === undefined) {
      for (const claim of claims) this.#blobsLost += claim.blobCount;
      this.#condemn(name);
      return;
    }
    try {
      const footer = attempt(() => checker.footer(opened, name, bytes));
      const digest = footer === undefined ? undefined : claimDigest(footer);
      for (const claim of claims)
        if (footer !== undefined && claim.digest !== digest)
          for (const writer of claim.writers) this.#blamed.add(writer);
      const packs = footer === undefined ? await this.#claimed(name, facts) : [footer];
      const damaged: DamagedEntry[] = [];
      for (const pack of packs)
        damaged.push(...(await checker.damagedEntries(opened, bytes, pack)));
      if (checker.hasItsName(name, bytes) && footer !== undefined && damaged.length === 0) {
        if (claims.length === 1 && claims[0]!.digest === digest) return;
        this.#corrected.push(name);
        this.#drop.set(name, { keep: digest });
        if (!claims.some((claim) => claim.digest === digest)) this.#addPack(footer);
        return;
      }
      if (checker.hasItsName(name, bytes))
        for (const writer of facts.writersOf(name)) this.#blamed.add(writer);
      const bad = new Set(damaged.map(({ ordinal }) => ordinal));
      this.#blobsLost += bad.size;
      const availability = new BlobAvailability(this.#index);
      availability.markDamagedPack(name);
      for (const pack of packs) {
        await this.#saveGood(opened, bytes, pack, (ordinal, id) => {
          if (bad.has(ordinal)) return false;
          return !availability.isReadable(pack.cls, id);
        });
      }
      this.#condemn(name);
    } finally {
      opened.opener.wipe();
    }
  }

  async #saveGood(
    opened: Parameters<Salvage["take"]>[0],
    bytes: Uint8Array,
    pack: IndexedPack,
    isWanted: (ordinal: number, id: Uint8Array) => boolean,
  ): Promise<void> {
    if (this.#options.dryRun === true) return;
    await this.#salvage.take(opened, bytes, pack, (ordinal) =>
      isWanted(ordinal, pack.ids.subarray(ordinal * 32, ordinal * 32 + 32)),
    );
  }

  async #claimed(name: string, facts: IndexFacts): Promise<IndexedPack[]> {
    const packs: IndexedPack[] = [];
    for (const claim of facts.of(name)) {
      const pack = await claimedPack(this.#index, name, claim);
      if (pack !== undefined) packs.push(pack);
    }
    return packs;
  }

  #condemn(name: string): void {
    this.#damaged.push(name);
    this.#drop.set(name, { keep: undefined });
  }

  /**
   * New index objects first, then the mark, then the old objects go: at no moment is a good blob
   * unfindable. @returns the names of objects removed
   */
  async #rewrite(
    facts: IndexFacts,
    damagedRecords: readonly { readonly name: string }[],
  ): Promise<string[]> {
    const rewritten = new Set<string>();
    for (const [name, { keep }] of this.#drop)
      for (const claim of facts.of(name))
        if (claim.digest !== keep) for (const object of claim.objects) rewritten.add(object);
    const unreadable = this.#index.damaged
      .filter(({ error }) => error instanceof CorruptionError)
      .map(({ name }) => name);
    const removed = new Set([
      ...rewritten,
      ...unreadable,
      ...damagedRecords.map(({ name }) => name),
    ]);
    if (this.#options.dryRun === true) return [...removed];
    if (rewritten.size > 0) await this.#keepRest(rewritten);
    await this.#indexWriter.write();
    this.#session.assertAlive();
    await this.#mark();
    for (const name of removed) await this.#repository.storage.delete("index", name);
    return [...removed];
  }

  /** What else those objects say, once for each pack. */
  async #keepRest(objects: ReadonlySet<string>): Promise<void> {
    const kept = new Set<string>();
    for await (const { object } of this.#index.objects(objects)) {
      for (const pack of object.packs) {
        const name = toHex(pack.name);
        const dropped = this.#drop.get(name);
        const digest = claimDigest(pack);
        if ((dropped !== undefined && dropped.keep !== digest) || kept.has(`${name} ${digest}`))
          continue;
        kept.add(`${name} ${digest}`);
        this.#indexWriter.add(pack);
      }
      if (this.#indexWriter.due(this.#repository.environment.clock.elapsed()))
        await this.#indexWriter.write();
    }
  }

  async #mark(): Promise<void> {
    if (this.#damaged.length === 0) return;
    const { marks } = await loadProtocol(this.#repository, ["mark"]);
    const record = encodeMark({
      record: "mark",
      generation: Math.max(0, ...marks.map(({ generation }) => generation)) + 1,
      time: new Date(this.#repository.environment.clock.now()).toISOString(),
      session: this.#session.id,
      packs: [...this.#damaged].sort(),
      reason: damagedReason,
    });
    await putRecord(this.#repository, "mark", record);
  }

  /** Sessions that nobody can read say nothing; what was found damaged is dealt with. */
  async #forgetDamage(listed: ReadonlyMap<string, number>): Promise<void> {
    const repository = this.#repository;
    for await (const { object } of checkSessions(repository))
      if (object !== undefined) await repository.storage.delete("locks", object);
    const noted = await loadDamagedPacks(repository);
    const left = [...noted].filter((name) => listed.has(name) && !this.#damaged.includes(name));
    await saveDamagedPacks(repository, new Set(left.filter((name) => !this.#drop.has(name))));
  }
}

function attempt<T>(open: () => T): T | undefined {
  try {
    return open();
  } catch (error) {
    if (error instanceof CorruptionError) return undefined;
    throw error;
  }
}
