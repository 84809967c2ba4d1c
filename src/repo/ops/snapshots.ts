/** Snapshots: listing, finding, writing. The snapshot object is the only commit. */
import { BackendError, CorruptionError, FailedError, UsageError } from "../../errors.ts";
import { decodeSnapshot, encodeForgetRecord, type Snapshot } from "../format/index.ts";
import { printableName } from "../../names.ts";
import { namesOf } from "./early-listing.ts";
import { isFromFuture } from "./forget-policy.ts";
import { loadProtocol, type Protocol, snapshotCounts } from "./protocol.ts";
import { RecordCache } from "./record-cache.ts";
import type { Repository } from "./repository.ts";
import { openRecord, putRecord } from "./sealed-records.ts";
import { fullStanding, loadStandings } from "./standing.ts";

/** A snapshot with its id, which is the name of its object. */
export interface StoredSnapshot extends Snapshot {
  readonly id: string;
  readonly timeMs: number;
}

export interface SnapshotFilter {
  /** Any of these. */
  readonly hosts?: readonly string[] | undefined;
  /** Each entry is `a,b,…`: all of one entry's tags. */
  readonly tags?: readonly string[] | undefined;
  /** All of these. */
  readonly paths?: readonly string[] | undefined;
}

export interface SnapshotList {
  /** Oldest first. */
  readonly snapshots: readonly StoredSnapshot[];
  /** Objects that could not be opened; every command but `check` warns of them and goes on. */
  readonly damaged: readonly { readonly name: string; readonly error: Error }[];
  /** Written too late by a session that a collector had locked out: garbage (R6). */
  readonly fenced: readonly string[];
}

const fetchesInFlight = 16;

/** Every snapshot that counts. Lists snapshots before anything else is read (the order of readers). */
export async function listSnapshots(
  repository: Repository,
  known?: Protocol,
): Promise<SnapshotList> {
  const early = known === undefined ? repository.takeEarlyListing() : undefined;
  const names = await (early?.snapshots ?? namesOf(repository.storage, "snapshots"));
  const cache = early === undefined ? undefined : new RecordCache(repository);
  const protocol =
    known ?? (await loadProtocol(repository, ["mark", "verdict"], early && { early, cache }));
  const snapshots: StoredSnapshot[] = [];
  const damaged: { name: string; error: Error }[] = [];
  const fenced: string[] = [];
  const queue = names.values();
  const fetchNext = async (): Promise<void> => {
    for (const name of queue) {
      try {
        const snapshot = await loadSnapshot(repository, name, cache);
        if (snapshot === undefined) continue; // forgotten meanwhile
        if (snapshotCounts(protocol, name, snapshot.session)) snapshots.push(snapshot);
        else fenced.push(name);
      } catch (error) {
        if (!(error instanceof CorruptionError)) throw error;
        damaged.push({ name, error });
      }
    }
  };
  await Promise.all(Array.from({ length: fetchesInFlight }, fetchNext));
  await cache?.tidyUp();
  snapshots.sort((a, b) => a.timeMs - b.timeMs || (a.id < b.id ? -1 : 1));
  return { snapshots, damaged, fenced };
}

/** As `listSnapshots`, with a warning for each that cannot be read. */
export async function readableSnapshots(
  repository: Repository,
  filter: SnapshotFilter = {},
): Promise<StoredSnapshot[]> {
  const { snapshots, damaged } = await listSnapshots(repository);
  for (const { name, error } of damaged)
    repository.environment.warn(`Snapshot ${name.slice(0, 8)} cannot be read: ${error.message}`);
  return snapshots.filter((snapshot) => matchesFilter(snapshot, filter));
}

export function matchesFilter(snapshot: Snapshot, filter: SnapshotFilter): boolean {
  const { hosts = [], tags = [], paths = [] } = filter;
  const hasTags = (wanted: string): boolean =>
    wanted.split(",").every((tag) => tag === "" || snapshot.tags.includes(tag));
  return (
    (hosts.length === 0 || hosts.includes(snapshot.hostname)) &&
    (tags.length === 0 || tags.some(hasTags)) &&
    paths.every((path) => snapshot.paths.includes(path))
  );
}

/** @param wanted  an id, a prefix of one only, or `latest` */
export async function resolveSnapshot(
  repository: Repository,
  wanted: string,
  filter: SnapshotFilter = {},
): Promise<StoredSnapshot> {
  assertSnapshotName(wanted);
  const all = await readableSnapshots(repository);
  const { environment } = repository;
  const found = resolveAmong(all, wanted, filter, environment.clock.now());
  if (wanted === "latest") await warnOfOthers(repository, all, found);
  return found;
}

/** Which host a snapshot is of, a writer with a backup key may say as it likes: people are told of it. */
async function warnOfOthers(
  repository: Repository,
  all: readonly StoredSnapshot[],
  chosen: StoredSnapshot,
): Promise<void> {
  const standings = await loadStandings(repository);
  const standing = standings.of(chosen);
  if (standing === fullStanding) return;
  const { hostname } = chosen;
  const other = all.findLast(
    (snapshot) => snapshot.hostname === hostname && standings.of(snapshot) !== standing,
  );
  if (other === undefined) return;
  repository.environment.warn(
    `Snapshot ${chosen.id.slice(0, 8)} says that it is of ${printableName(hostname)}, and key ${printableName(standings.label(chosen))} wrote it; ` +
      `key ${printableName(standings.label(other))} wrote ${other.id.slice(0, 8)} of the same host. Name the one that you trust by its id`,
  );
}

/**
 * @param all     oldest first
 * @param wanted  an id, a prefix of one only, or `latest`, which is the newest that the filter lets through,
 *   and that is not from the future
 */
export function resolveAmong(
  all: readonly StoredSnapshot[],
  wanted: string,
  filter: SnapshotFilter | undefined,
  nowMs: number,
): StoredSnapshot {
  assertSnapshotName(wanted);
  if (wanted === "latest") {
    const newest = all.findLast(
      (snapshot) => matchesFilter(snapshot, filter ?? {}) && !isFromFuture(snapshot, nowMs),
    );
    if (newest !== undefined) return newest;
    throw new FailedError("Cannot find the latest snapshot: there is none that fits", {
      hint: "See: ashlar snapshots",
    });
  }
  const matches = all.filter((snapshot) => snapshot.id.startsWith(wanted));
  if (matches.length === 1) return matches[0]!;
  const state = matches.length === 0 ? "there is none" : `${matches.length} snapshots begin so`;
  throw new FailedError(`Cannot find snapshot ${wanted}: ${state}`, {
    hint: "See: ashlar snapshots",
  });
}

function assertSnapshotName(wanted: string): void {
  if (wanted === "latest" || /^[0-9a-f]{1,64}$/.test(wanted)) return;
  throw new UsageError(`Cannot find snapshot "${wanted}": it is neither an id nor "latest"`, {
    hint: "See: ashlar snapshots",
  });
}

/** @returns undefined when there is no such object (any more) */
export async function loadSnapshot(
  repository: Repository,
  name: string,
  cache?: RecordCache,
): Promise<StoredSnapshot | undefined> {
  const stored = await (cache ?? repository.storage).get("snapshots", name);
  if (stored === undefined) return undefined;
  const content = openRecord(repository, "snapshot", stored);
  const registry = await repository.registryFor(content);
  const { body, writerId } = registry.verify("snapshot", content);
  const snapshot = decodeSnapshot(body);
  if (snapshot.writer !== writerId)
    throw new CorruptionError(
      `Cannot trust snapshot ${name}: it names another writer than signed it`,
    );
  return { ...snapshot, id: name, timeMs: Date.parse(snapshot.time) };
}

/** Drops snapshots: first the signed record that this was meant, then the objects (R15). */
export async function removeSnapshots(
  repository: Repository,
  snapshots: readonly StoredSnapshot[],
  replacedBy: ReadonlyMap<string, string> = new Map(),
): Promise<void> {
  if (snapshots.length === 0) return;
  const record = encodeForgetRecord({
    time: new Date(repository.environment.clock.now()).toISOString(),
    snapshots: snapshots.map(({ id, writer, sequence }) => {
      const successor = replacedBy.get(id);
      return {
        name: id,
        writer,
        sequence,
        ...(successor === undefined ? {} : { replacedBy: successor }),
      };
    }),
  });
  let isRecorded = await putForgetRecord(repository, record);
  for (const { id } of snapshots) {
    await repository.storage.delete("snapshots", id);
    // On a full disk the first snapshots that go make room for the record.
    isRecorded ||= await putForgetRecord(repository, record);
  }
  if (!isRecorded) {
    repository.environment.warn(
      "No space for the record of what is forgotten: check will report these snapshots as missing",
    );
  }
}

/** @returns false when the disk is full */
async function putForgetRecord(repository: Repository, record: Uint8Array): Promise<boolean> {
  try {
    await putRecord(repository, "forget", record);
    return true;
  } catch (error) {
    if (error instanceof BackendError && error.errno === "ENOSPC") return false;
    throw error;
  }
}
