/**
 * What a collector looks at, in the order that makes it safe: packs, then sessions, then fences, then
 * snapshots. The index comes after all of it.
 */
import { CorruptionError, RepositoryBusyError } from "../../../errors.ts";
import { listPacks } from "../check/open-index.ts";
import { namesOf } from "../early-listing.ts";
import { loadProtocol, type Protocol } from "../protocol.ts";
import type { Repository } from "../repository.ts";
import type { Session } from "../sessions.ts";
import { listSnapshots, type SnapshotList, type StoredSnapshot } from "../snapshots.ts";
import { putCensus } from "./census.ts";
import { fenceGone } from "./fence.ts";
import { settlingMs } from "./late-lists.ts";
import type { PruneHooks, PruneOptions } from "./options.ts";
import {
  hostsOf,
  type ObservedSession,
  observeSessions,
  type SessionsSeen,
} from "./sessions-seen.ts";
import { blocksSweeps } from "./sweep-plan.ts";

export interface View {
  /** LIST data/: stored bytes by name. */
  readonly listing: ReadonlyMap<string, number>;
  readonly protocol: Protocol;
  /** All but the collector's own. */
  readonly sessions: readonly ObservedSession[];
  /** By the storage's clock, where it has one. */
  readonly storageNowMs: number | undefined;
  readonly snapshots: readonly StoredSnapshot[];
  /** Snapshots that came too late to count: garbage (R6). */
  readonly fencedSnapshots: readonly string[];
}

/**
 * @throws {RepositoryBusyError} with grace 0 while any session lives
 * @throws {CorruptionError} when a snapshot cannot be read: what it needs is not known
 */
export async function lookAround(
  repository: Repository,
  own: Session | undefined,
  options: PruneOptions,
  { signal }: PruneHooks,
): Promise<View> {
  const listing = await listPacks(repository, signal);
  const before = await loadProtocol(repository);
  const settling = settlingMs(repository, options.graceMs);
  const { sessions, storageNowMs } = await sessionsOfOthers(repository, before, own, settling);
  const alive = sessions.filter(blocksSweeps);
  if (options.graceMs === 0 && alive.length > 0) {
    // So that the next run can tell whether they have moved since.
    if (options.dryRun !== true)
      await putCensus(repository, before, { collector: own, listing, sessions, marksSeen: [] });
    throw new RepositoryBusyError(
      `Cannot prune without a grace: ${alive.length === 1 ? "a session lives" : `${alive.length} sessions live`} on ${hostsOf(alive).join(", ")}`,
      {
        hint: "Wait for it to end, or prune with a grace (24h unless given); a run that was killed on another host counts as dead half an hour after its last word, or, where the storage tells no times, half an hour after prune first saw it",
      },
    );
  }
  const protocol =
    options.dryRun === true ? before : await fenceGone(repository, before, sessions, own);
  const { snapshots, damaged, fenced } = await settledSnapshots(repository, protocol);
  const [unreadable] = damaged;
  if (unreadable !== undefined) {
    throw new CorruptionError(
      `Cannot prune: snapshot ${unreadable.name} cannot be read, so what it needs is not known: ${unreadable.error.message}`,
      {
        hint: "Restore that object from a copy of the repository, or give the snapshot up: ashlar repair snapshots --forget",
      },
    );
  }
  return { listing, protocol, sessions, storageNowMs, snapshots, fencedSnapshots: fenced };
}

export function sessionsOfOthers(
  repository: Repository,
  { censuses }: Protocol,
  own: Session | undefined,
  settlingMs: number,
): Promise<SessionsSeen> {
  return observeSessions(repository, censuses, own?.id, settlingMs);
}

const roundsMax = 100;

/**
 * Lists until two lists agree: `tag` puts a snapshot's successor and deletes the snapshot, and a list
 * that is read meanwhile may show neither.
 */
async function settledSnapshots(repository: Repository, protocol: Protocol): Promise<SnapshotList> {
  let before = await snapshotNames(repository);
  for (let round = 0; round < roundsMax; round++) {
    const list = await listSnapshots(repository, protocol);
    const after = await snapshotNames(repository);
    if (after === before) return list;
    before = after;
  }
  throw new RepositoryBusyError("Cannot prune: snapshots come and go all the time", {
    hint: "Run again when fewer backups, tags and forgets are at work",
  });
}

async function snapshotNames({ storage }: Repository): Promise<string> {
  return (await namesOf(storage, "snapshots")).sort().join();
}
