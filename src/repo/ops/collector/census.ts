/** Writes down what a collector saw, for the next one. */
import { fromHex } from "../../../bytes.ts";
import { encodeCensus } from "../../format/index.ts";
import type { Protocol } from "../protocol.ts";
import type { Repository } from "../repository.ts";
import { putRecord } from "../sealed-records.ts";
import type { Session } from "../sessions.ts";
import { clockOf, type ObservedSession, toSeen } from "./sessions-seen.ts";

/** In records of a collector that found no room for a session of its own. */
export const noSession = "0".repeat(32);

export interface Seen {
  readonly own: Session | undefined;
  /** Older than `sessions` (R5). */
  readonly listing: ReadonlyMap<string, number>;
  readonly sessions: readonly ObservedSession[];
  /** Marks that were there before the sessions were listed. */
  readonly marksSeen: readonly string[];
}

/** Drops older ones of the same clock, but for the last: a session may have begun between the two. */
export async function putCensus(
  repository: Repository,
  { censuses }: Protocol,
  { own, listing, sessions, marksSeen }: Seen,
): Promise<void> {
  const clock = clockOf(repository);
  const census = {
    time: new Date(repository.environment.clock.now()).toISOString(),
    clock,
    session: own?.id ?? noSession,
    dataListing: fromHex([...listing.keys()].sort().join("")),
    sessionsSeen: sessions.map(toSeen),
    marksSeen,
  };
  await putRecord(repository, "census", encodeCensus(census));
  const older = censuses
    .filter((other) => other.clock === clock)
    .sort((a, b) => Date.parse(b.time) - Date.parse(a.time));
  for (const { name } of older.slice(1)) await repository.storage.delete("index", name);
}
