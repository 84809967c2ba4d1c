/**
 * Prune: sweeps what earlier runs have marked, then marks anew (docs/decisions/0010-collector.md).
 * A run may stop anywhere: the next goes on from what is stored.
 */
import { fromHex } from "../../../bytes.ts";
import { BackendError, CorruptionError } from "../../../errors.ts";
import { IndexWriter } from "../../blob-index/index.ts";
import { BlobReader } from "../../blobs/index.ts";
import { encodeMark, type Mark } from "../../format/index.ts";
import { listPacks, openFullIndex } from "../check/open-index.ts";
import { namesOf } from "../early-listing.ts";
import { hiddenPacks, loadProtocol, type Named } from "../protocol.ts";
import { startExclusively } from "./exclusive.ts";
import type { Repository } from "../repository.ts";
import { needsFullKey, putRecord } from "../sealed-records.ts";
import type { Session } from "../sessions.ts";
import { noSession, putCensus } from "./census.ts";
import { copyBlobs, takenByAnother } from "./copy-blobs.ts";
import { holdKept } from "./hold-kept.ts";
import { safeGrace, settlingMs } from "./late-lists.ts";
import { LiveSet } from "./live-set.ts";
import { type MarkPlan, type PackUse, planMark } from "./mark-plan.ts";
import type { PruneHooks, PruneOptions, PruneSummary, WaitingMark } from "./options.ts";
import { hostsOf, type ObservedSession } from "./sessions-seen.ts";
import { isDiskFull, sweep, type SweepContext } from "./sweep.ts";
import { blocksSweeps, markablePacks, planSweeps, type SweepDecision } from "./sweep-plan.ts";
import { tidyHooks } from "./tidy-hooks.ts";
import { lookAround, sessionsOfOthers, type View } from "./view.ts";

/**
 * @throws {RepositoryBusyError} while another prune or repair is at work, or with grace 0 while any session lives
 * @throws {CorruptionError} when what snapshots need cannot be told, or is nowhere: nothing is deleted then
 */
export async function prune(
  repository: Repository,
  asked: PruneOptions,
  hooks: PruneHooks = {},
): Promise<PruneSummary> {
  if (repository.role !== "full") throw needsFullKey("Cannot prune");
  const options = { ...asked, graceMs: safeGrace(repository, asked.graceMs) };
  const session = options.dryRun === true ? undefined : await startSession(repository);
  try {
    await using run = await PruneRun.begin(repository, options, hooks, session);
    try {
      return options.dryRun === true ? await run.plan() : await run.execute();
    } catch (error) {
      // What cannot be read may only be what another prune has moved elsewhere.
      if (error instanceof CorruptionError) await run.expectNothingTaken(error);
      throw error;
    }
  } finally {
    await session?.abort();
  }
}

/** On a full disk there is no room for a session: that no two prunes collide rests on marks (R4). */
async function startSession(repository: Repository): Promise<Session | undefined> {
  try {
    return await startExclusively(repository, "prune");
  } catch (error) {
    if (!isDiskFull(error)) throw error;
    repository.environment.warn("The disk is full: going on without a session to make room");
    return undefined;
  }
}

const staleTemporaryMs = 24 * 3_600_000;

interface FullPlan extends MarkPlan {
  /** Packs that no index object names: left by runs that were killed. */
  readonly unindexed: readonly string[];
  /** A session lives that is older than any census: what it has stored cannot be told from garbage. */
  readonly isBlocked: boolean;
}

class PruneRun implements AsyncDisposable {
  readonly #repository: Repository;
  readonly #options: PruneOptions;
  readonly #hooks: PruneHooks;
  readonly #session: Session | undefined;
  readonly #view: View;
  readonly #context: SweepContext;
  /** Packs that any mark names, this run's own too. */
  readonly #marked: Set<string>;
  readonly #freed = new Set<string>();
  /** Packs that this run has put. */
  readonly #copies = new Set<string>();
  /** This run's own marks that are not swept yet. */
  readonly #marks: Named<Mark>[] = [];

  private constructor(
    repository: Repository,
    options: PruneOptions,
    hooks: PruneHooks,
    session: Session | undefined,
    view: View,
    context: SweepContext,
  ) {
    this.#repository = repository;
    this.#options = options;
    this.#hooks = hooks;
    this.#session = session;
    this.#view = view;
    this.#context = context;
    this.#marked = hiddenPacks(view.protocol);
  }

  static async begin(
    repository: Repository,
    options: PruneOptions,
    hooks: PruneHooks,
    session: Session | undefined,
  ): Promise<PruneRun> {
    const { signal } = hooks;
    hooks.onStep?.("listing");
    const view = await lookAround(repository, session, options, hooks);
    const index = await openFullIndex(repository, signal);
    try {
      await index.ensureIntact();
      // Listed again: snapshots may have come, with packs, since the list that says what may be marked.
      await index.restrictToListed(repository.storage.list("data", { signal }));
      const { storage, keys, fullKeys, id: repoId, writer, environment } = repository;
      const reader = await BlobReader.open({
        ...{ storage, keys: fullKeys, repoId, index, signal },
        lanes: 0,
      });
      const indexWriter = new IndexWriter({
        ...{ storage, keys, repoId, writer, random: environment.random, index, signal },
        session: session === undefined ? undefined : fromHex(session.id),
        clock: () => environment.clock.elapsed(),
      });
      const context = { repository, index, indexWriter, reader, signal };
      return new PruneRun(repository, options, hooks, session, view, context);
    } catch (error) {
      index.close();
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#context.reader.close();
    this.#context.index.close();
  }

  /** What a run would do; writes nothing. */
  async plan(): Promise<PruneSummary> {
    const { due, waiting } = this.#planSweeps();
    const plan = await this.#planMark(await this.#liveSet());
    for (const mark of due) this.#count(mark.packs);
    const marks = [...plan.unindexed, ...names(plan.unused), ...names(plan.repack)];
    if (this.#options.graceMs === 0) this.#count(marks);
    return this.#summary(plan, waiting, this.#options.graceMs === 0 ? [] : marks);
  }

  async execute(): Promise<PruneSummary> {
    const { due, waiting } = this.#planSweeps();
    await this.#clearSessions();
    this.#hooks.onStep?.("finding what is needed");
    const live = await this.#liveSet();
    const plan = await this.#planMark(live);
    const swept = (await this.#sweep(due, live)) ? due : [];
    if (swept !== due) for (const mark of due) waiting.push(this.#overtaken(mark.packs));
    // What needs no copying goes first, so that the copies find room.
    await this.#collect([...plan.unindexed, ...names(plan.unused)], "unused", live, waiting);
    if (plan.repack.length > 0) {
      this.#hooks.onStep?.("repacking");
      const repacked = new Set(names(plan.repack));
      const copies = await copyBlobs(this.#context, repacked, (place) =>
        live.marks.isMarked(place),
      );
      for (const pack of copies) this.#copies.add(pack);
      await this.#collect([...repacked], "repacked", live, waiting);
    }
    await this.#finish(swept);
    const marked = this.#marks.flatMap(({ packs }) => packs);
    return this.#summary(plan, waiting, marked);
  }

  #planSweeps(): { due: Named<Mark>[]; waiting: WaitingMark[] } {
    const { protocol, sessions, storageNowMs } = this.#view;
    const decisions = planSweeps(protocol.marks, protocol.censuses, sessions, {
      nowMs: this.#repository.environment.clock.now(),
      storageNowMs,
      graceMs: this.#options.graceMs,
    });
    return {
      due: decisions.filter(({ waitsFor }) => waitsFor === undefined).map(({ mark }) => mark),
      waiting: decisions.flatMap((decision) => this.#waiting(decision)),
    };
  }

  #waiting({ mark, waitsFor }: SweepDecision): WaitingMark[] {
    if (waitsFor === undefined) return [];
    const { untilMs, sessions } = waitsFor;
    return [{ bytes: this.#bytesOf(mark.packs), untilMs, hosts: hostsOf(sessions) }];
  }

  async #liveSet(): Promise<LiveSet> {
    const { index, reader, signal } = this.#context;
    const live = new LiveSet(index, reader, (pack) => this.#marked.has(pack), signal);
    for (const root of new Set(this.#view.snapshots.map(({ tree }) => tree)))
      await live.addTree(fromHex(root));
    return live;
  }

  /** Plans until nothing more must be kept for what stays by that plan. */
  async #planMark(live: LiveSet): Promise<FullPlan> {
    const { maxUnused, maxRepackBytes } = this.#options;
    const { listing, sessions, protocol } = this.#view;
    const { index } = this.#context;
    const listed = new Set(listing.keys());
    const markable = markablePacks(listed, sessions, protocol.censuses);
    const isFree = (name: string): boolean =>
      markable?.has(name) === true && !this.#marked.has(name);
    for (;;) {
      const plan = planMark(this.#packUse(live, isFree), { maxUnused, maxRepackBytes });
      const goes = new Set([...names(plan.unused), ...names(plan.repack)]);
      const stays = (name: string): boolean =>
        !goes.has(name) &&
        !this.#marked.has(name) &&
        index.packNumbers(name).some((number) => index.usable(number));
      if (await live.keepBasesIn(stays)) continue;
      const unindexed = [...listed].filter(
        (name) => isFree(name) && index.packNumbers(name).length === 0,
      );
      return { ...plan, unindexed, isBlocked: markable === undefined };
    }
  }

  *#packUse(live: LiveSet, isFree: (name: string) => boolean): Generator<PackUse> {
    const { index } = this.#context;
    const seen = new Set<string>();
    for (const { name } of index.packs()) {
      const size = this.#view.listing.get(name);
      if (size === undefined || seen.has(name) || !isFree(name)) continue;
      seen.add(name);
      const numbers = index.packNumbers(name);
      // Of two claims about one pack each may be true: it counts as used while either is, and is not
      // repacked until `repair index` has decided.
      const number = numbers.find((claim) => live.marks.usedCount(claim) > 0) ?? numbers[0]!;
      const usedCount = live.marks.usedCount(number);
      const blobCount = numbers.length > 1 ? usedCount : index.blobCount(number);
      yield { name, size, blobCount, usedCount, usedBytes: live.marks.usedBytes(number) };
    }
  }

  /** Marks packs; without a grace they go at once. */
  async #collect(
    packs: readonly string[],
    reason: string,
    live: LiveSet,
    waiting: WaitingMark[],
  ): Promise<void> {
    if (packs.length === 0) return;
    const isImmediate = this.#options.graceMs === 0;
    let mark: Named<Mark>;
    try {
      mark = await this.#putMark(packs, reason);
    } catch (error) {
      // The shortest mark may fit on a full disk, and what it frees holds the others.
      if (isDiskFull(error) && (!isImmediate || packs.length === 1)) throw noRoom(error);
      if (!isDiskFull(error)) throw error;
      await this.#collect(packs.slice(0, 1), reason, live, waiting);
      await this.#collect(packs.slice(1), reason, live, waiting);
      return;
    }
    const newcomers = isImmediate ? await this.#newcomers() : [];
    if (isImmediate && newcomers.length === 0 && (await this.#sweep([mark], live))) return;
    this.#marks.push(mark);
    if (newcomers.length > 0)
      waiting.push({ bytes: this.#bytesOf(packs), untilMs: undefined, hosts: newcomers });
    else if (isImmediate) waiting.push(this.#overtaken(packs));
  }

  /**
   * Hosts whose sessions began after this run looked, or which have committed since: they may have taken
   * up a pack before its mark was there. What begins later has read the mark. Snapshots are looked at
   * last: whoever ended, and whose session somebody has cleared away, has put his.
   */
  async #newcomers(): Promise<string[]> {
    const { protocol, sessions, snapshots, fencedSnapshots } = this.#view;
    const known = new Set(sessions.map(({ session }) => session));
    const now = await sessionsOfOthers(this.#repository, protocol, this.#session, 0);
    const isNew = ({ session, kind }: ObservedSession): boolean =>
      !known.has(session) && kind !== "collector";
    const hosts = hostsOf(now.sessions.filter(isNew));
    const before = new Set([...snapshots.map(({ id }) => id), ...fencedSnapshots]);
    const after = await namesOf(this.#repository.storage, "snapshots");
    const hasNewSnapshot = after.some((name) => !before.has(name));
    return hosts.length === 0 && hasNewSnapshot ? ["a host that has just committed"] : hosts;
  }

  /**
   * Another collector has marked, copied or deleted since this run looked: the places that it keeps may
   * be going, or what it takes for garbage may be a copy by now (R4). Whoever puts first and looks then
   * is seen by the other, or sees it. The marks come before the list: one that is gone again has left
   * its packs missing.
   */
  async #isOvertaken(live: LiveSet, doomed: readonly string[]): Promise<boolean> {
    const { index, signal } = this.#context;
    const { marks } = await loadProtocol(this.#repository, ["mark"]);
    if (marks.some(({ packs }) => packs.some((name) => !this.#marked.has(name)))) return true;
    const isIndexed = (name: string): boolean => index.packNumbers(name).length > 0;
    const unindexed = doomed.filter((name) => !isIndexed(name));
    if (unindexed.length > 0) await index.refresh();
    if (unindexed.some(isIndexed)) return true;
    const listing = await listPacks(this.#repository, signal);
    const needed = live.endangered.map(({ location }) => index.packInfo(location.pack).name);
    for (const { name } of index.packs()) {
      const isUsed = index.packNumbers(name).some((pack) => live.marks.usedCount(pack) > 0);
      if (isUsed) needed.push(name);
    }
    needed.push(...this.#copies);
    return needed.some((name) => !listing.has(name) && !this.#freed.has(name));
  }

  #overtaken(packs: readonly string[]): WaitingMark {
    return { bytes: this.#bytesOf(packs), untilMs: undefined, hosts: ["another prune"] };
  }

  async #putMark(packs: readonly string[], reason: string): Promise<Named<Mark>> {
    const { protocol } = this.#view;
    const mark: Mark = {
      record: "mark",
      generation: 1 + Math.max(0, ...protocol.marks.map(({ generation }) => generation)),
      time: new Date(this.#repository.environment.clock.now()).toISOString(),
      session: this.#session?.id ?? noSession,
      packs: [...packs].sort(),
      reason,
    };
    const name = await putRecord(this.#repository, "mark", encodeMark(mark));
    for (const pack of packs) this.#marked.add(pack);
    return { ...mark, name };
  }

  /** @throws {RepositoryBusyError} when packs are gone that were there when this run began */
  async expectNothingTaken(cause: unknown): Promise<void> {
    const listing = await listPacks(this.#repository, this.#context.signal);
    for (const name of this.#view.listing.keys())
      if (!listing.has(name) && !this.#freed.has(name)) throw takenByAnother(name, cause);
  }

  /** @returns false when another collector is in the way: the marks stay for the next run */
  async #sweep(marks: readonly Named<Mark>[], live: LiveSet): Promise<boolean> {
    if (marks.length === 0) return true;
    const doomed = marks.flatMap(({ packs }) => packs);
    if (await this.#isOvertaken(live, doomed)) return false;
    this.#hooks.onStep?.("sweeping");
    const deleted = await sweep(this.#context, marks, live, (copies) => {
      for (const pack of copies) this.#copies.add(pack);
      return this.#isOvertaken(live, doomed);
    });
    if (deleted !== undefined) this.#count(deleted);
    return deleted !== undefined;
  }

  /** Of those that seem dead the fence knows, others have ended. On a full disk this makes the first room. */
  async #clearSessions(): Promise<void> {
    const over = this.#view.sessions.filter(({ liveness }) => liveness !== "live");
    for (const name of over.flatMap(({ objects }) => objects))
      await this.#repository.storage.delete("locks", name);
  }

  /** Writes down what was seen, and clears away what nobody needs any more. */
  async #finish(swept: readonly Named<Mark>[]): Promise<void> {
    const { storage, environment } = this.#repository;
    const { protocol, listing, sessions, fencedSnapshots } = this.#view;
    // Sessions are looked at again, now that the marks are there: who is not among them has read those.
    const settling = settlingMs(this.#repository, this.#options.graceMs);
    const after = await sessionsOfOthers(this.#repository, protocol, this.#session, settling);
    const seen = new Map([...sessions, ...after.sessions].map((one) => [one.session, one]));
    const open = [...protocol.marks.filter((mark) => !swept.includes(mark)), ...this.#marks];
    await putCensus(this.#repository, protocol, {
      collector: this.#session,
      listing,
      sessions: [...seen.values()],
      marksSeen: open.map(({ name }) => name),
    });
    for (const name of fencedSnapshots) await storage.delete("snapshots", name);
    const { fullKeys: keys, id: repoId } = this.#repository;
    const { index, signal } = this.#context;
    await tidyHooks({ storage, keys, repoId, random: environment.random, signal }, index);
    await holdKept(this.#repository, this.#marked, signal);
    await storage.removeStaleTemporaries?.(environment.clock.now() - staleTemporaryMs);
  }

  #count(packs: Iterable<string>): void {
    for (const pack of packs) if (this.#view.listing.has(pack)) this.#freed.add(pack);
  }

  #bytesOf(packs: Iterable<string>): number {
    let bytes = 0;
    for (const pack of packs) bytes += this.#view.listing.get(pack) ?? 0;
    return bytes;
  }

  #summary(
    plan: FullPlan,
    waiting: readonly WaitingMark[],
    marked: readonly string[],
  ): PruneSummary {
    const { environment } = this.#repository;
    return {
      packsFreed: this.#freed.size,
      bytesFreed: this.#bytesOf(this.#freed),
      packsMarked: marked.length,
      bytesMarked: this.#bytesOf(marked),
      freeFromMs: marked.length === 0 ? undefined : environment.clock.now() + this.#options.graceMs,
      bytesRepacked: plan.repackBytes,
      bytesUnusedLeft: plan.unusedBytesLeft,
      waiting,
      blockedBy: plan.isBlocked ? hostsOf(this.#view.sessions.filter(blocksSweeps)) : [],
      snapshotCount: this.#view.snapshots.length,
    };
  }
}

function noRoom(cause: unknown): BackendError {
  return new BackendError("Cannot prune: the disk is full, and not even a mark fits", {
    errno: "ENOSPC",
    cause,
    hint: "Make a little room (a spare file, or forget another snapshot), then: ashlar prune --grace 0",
  });
}

function names(packs: readonly PackUse[]): string[] {
  return packs.map(({ name }) => name);
}
