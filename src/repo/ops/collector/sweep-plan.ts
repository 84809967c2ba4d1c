/** Which marks may be swept now, and which packs may be marked: pure. */
import type { Census, Mark } from "../../format/index.ts";
import type { Named, Stored } from "../protocol.ts";
import type { ObservedSession } from "./sessions-seen.ts";

export interface SweepDecision {
  readonly mark: Named<Mark>;
  /** Undefined: now. */
  readonly waitsFor:
    { readonly untilMs?: number; readonly sessions: readonly ObservedSession[] } | undefined;
}

/** What can still depend on a pack: another prune's own session does not. */
export function blocksSweeps(session: ObservedSession): boolean {
  return session.liveness === "live" && session.kind !== "collector";
}

export interface SweepClock {
  readonly nowMs: number;
  /** By the storage's clock, where it has one: by that, too, the grace must be over. */
  readonly storageNowMs?: number | undefined;
  readonly graceMs: number;
}

/**
 * A mark may be swept when its grace is over and every session that was there when it became visible has
 * ended or acknowledged it: those that came later have read it.
 */
export function planSweeps(
  marks: readonly Stored<Mark>[],
  censuses: readonly Named<Census>[],
  sessions: readonly ObservedSession[],
  clock: SweepClock,
): SweepDecision[] {
  const live = sessions.filter(blocksSweeps);
  return marks.map((mark) => {
    const untilMs = clock.nowMs + clock.graceMs - ageOf(mark, clock);
    const blocking = live.filter(
      ({ session, ackedMarks }) =>
        !ackedMarks.includes(mark.name) && mayKnowNothingOf(mark.name, session, censuses),
    );
    if (untilMs <= clock.nowMs && blocking.length === 0) return { mark, waitsFor: undefined };
    return {
      mark,
      waitsFor: { ...(untilMs > clock.nowMs ? { untilMs } : {}), sessions: blocking },
    };
  });
}

/** Two hosts' clocks may differ, and the storage's may be set forward: the younger of two answers. */
function ageOf({ time, storedMs }: Stored<Mark>, { nowMs, storageNowMs }: SweepClock): number {
  return Math.min(nowMs - Date.parse(time), (storageNowMs ?? Infinity) - (storedMs ?? -Infinity));
}

/** False only if a census that was taken after the mark does not list the session: then it began later. */
function mayKnowNothingOf(
  mark: string,
  session: string,
  censuses: readonly Named<Census>[],
): boolean {
  return !censuses.some(
    (census) =>
      census.marksSeen?.includes(mark) === true &&
      census.sessionsSeen.every((seen) => seen.session !== session),
  );
}

/**
 * Packs that no live session can have stored (R5): all, where none lives; else those that a census lists
 * which is older than all of them.
 *
 * @param listing  LIST data/, taken before the sessions were listed
 * @returns undefined when there is no such census: nothing may be marked
 */
export function markablePacks(
  listing: ReadonlySet<string>,
  sessions: readonly ObservedSession[],
  censuses: readonly Named<Census>[],
): ReadonlySet<string> | undefined {
  const live = sessions.filter(blocksSweeps).map(({ session }) => session);
  if (live.length === 0) return listing;
  const older = censuses
    .filter((census) => census.sessionsSeen.every((seen) => !live.includes(seen.session)))
    .sort((a, b) => Date.parse(b.time) - Date.parse(a.time))[0];
  if (older === undefined) return undefined;
  const names = Buffer.from(older.dataListing);
  const listed = new Set<string>();
  for (let at = 0; at < names.length; at += 32) {
    const name = names.toString("hex", at, at + 32);
    if (listing.has(name)) listed.add(name);
  }
  return listed;
}
