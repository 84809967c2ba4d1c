/** Writes down what a collector saw, for the next one. */
import { fromHex } from "../../../bytes.ts";
import { type Census, encodeCensus } from "../../format/index.ts";
import type { Named, Protocol } from "../protocol.ts";
import type { Repository } from "../repository.ts";
import { putRecord } from "../sealed-records.ts";
import type { Session } from "../sessions.ts";
import { clockOf, type ObservedSession, toSeen } from "./sessions-seen.ts";

/** In records of a collector that found no room for a session of its own. */
export const noSession = "0".repeat(32);

export interface Seen {
  readonly collector: Session | undefined;
  /** Older than `sessions` (R5). */
  readonly listing: ReadonlyMap<string, number>;
  readonly sessions: readonly ObservedSession[];
  /** Marks that were there before the sessions were listed. */
  readonly marksSeen: readonly string[];
}

/** Drops older ones of the same clock that say nothing more. */
export async function putCensus(
  repository: Repository,
  { censuses }: Protocol,
  { collector, listing, sessions, marksSeen }: Seen,
): Promise<void> {
  const clock = clockOf(repository);
  const census = {
    time: new Date(repository.environment.clock.now()).toISOString(),
    clock,
    session: collector?.id ?? noSession,
    dataListing: fromHex([...listing.keys()].sort().join("")),
    sessionsSeen: sessions.map(toSeen),
    marksSeen,
  };
  await putRecord(repository, "census", encodeCensus(census));
  const own = censuses.filter((other) => other.clock === clock);
  const kept = stillTelling(own, marksSeen);
  for (const { name } of own) if (!kept.has(name)) await repository.storage.delete("index", name);
}

/**
 * Names of the newest, which is older than a session that may just have begun (R5), and of the first
 * that saw each mark, which tells who has read it.
 */
function stillTelling(censuses: readonly Named<Census>[], marks: readonly string[]): Set<string> {
  const oldestFirst = [...censuses].sort((a, b) => Date.parse(a.time) - Date.parse(b.time));
  const kept = new Set<string>();
  const newest = oldestFirst.at(-1);
  if (newest !== undefined) kept.add(newest.name);
  for (const mark of marks) {
    const first = oldestFirst.find(({ marksSeen }) => marksSeen?.includes(mark) === true);
    if (first !== undefined) kept.add(first.name);
  }
  return kept;
}
