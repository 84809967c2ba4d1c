/**
 * Which snapshots a policy keeps, and why: pure, so that `forget --dry-run` and `forget` cannot differ.
 *
 * As in restic: within a group, newest first, each `keep-…` counts periods that hold a snapshot and
 * keeps the newest of each. Periods are those of the local calendar. `keep-within` counts from the
 * group's newest snapshot, so a host that was off for a year loses nothing.
 *
 * Hosts, paths and times are what writers say. So that nobody's false snapshots can take the places of
 * true ones, writers that may not speak for each other are counted apart (standing.ts), and snapshots
 * from the future stay and do not count.
 */
import { type CalendarDuration, subtractDuration } from "../../durations.ts";

export interface ForgetPolicy {
  readonly last?: number | undefined;
  readonly hourly?: number | undefined;
  readonly daily?: number | undefined;
  readonly weekly?: number | undefined;
  readonly monthly?: number | undefined;
  readonly yearly?: number | undefined;
  readonly within?: CalendarDuration | undefined;
  /** Each entry is a set of tags: a snapshot that carries all of one set stays. */
  readonly tags: readonly (readonly string[])[];
}

/** What the policy needs to know of a snapshot. */
export interface PolicySubject {
  readonly timeMs: number;
  readonly hostname: string;
  readonly paths: readonly string[];
  readonly tags: readonly string[];
}

export interface PolicyDecision<S> {
  readonly snapshot: S;
  readonly keep: boolean;
  /** Why it stays; empty when it goes. */
  readonly reasons: readonly string[];
}

export type GroupKey = "host" | "paths" | "tags";

export interface SnapshotGroup<S> {
  /** `standing` of its snapshots; only where several share host, paths and tags. */
  readonly standing?: string;
  readonly hostname?: string;
  readonly paths?: readonly string[];
  readonly tags?: readonly string[];
  /** Newest first. */
  readonly snapshots: readonly S[];
}

export function isEmptyPolicy(policy: ForgetPolicy): boolean {
  const { tags, ...rules } = policy;
  return tags.length === 0 && Object.values(rules).every((rule) => rule === undefined);
}

/** @param standingOf  those of unlike standing are in groups of their own */
export function groupSnapshots<S extends PolicySubject>(
  snapshots: readonly S[],
  by: readonly GroupKey[],
  standingOf: (snapshot: S) => string,
): SnapshotGroup<S>[] {
  const groups = new Map<string, Map<string, S[]>>();
  for (const snapshot of snapshots) {
    const key = JSON.stringify([
      by.includes("host") ? snapshot.hostname : null,
      by.includes("paths") ? [...snapshot.paths].sort() : null,
      by.includes("tags") ? [...snapshot.tags].sort() : null,
    ]);
    const group = groups.get(key) ?? new Map<string, S[]>();
    const standing = standingOf(snapshot);
    group.set(standing, [...(group.get(standing) ?? []), snapshot]);
    groups.set(key, group);
  }
  const alike = [...groups.values()].flatMap((group) =>
    [...group].map(([standing, members]) => ({ standing, members, isOnly: group.size === 1 })),
  );
  return alike.map(({ standing, members, isOnly }) => {
    const [first] = members;
    return {
      ...(isOnly ? {} : { standing }),
      ...(by.includes("host") ? { hostname: first!.hostname } : {}),
      ...(by.includes("paths") ? { paths: [...first!.paths].sort() } : {}),
      ...(by.includes("tags") ? { tags: [...first!.tags].sort() } : {}),
      snapshots: members.sort((a, b) => b.timeMs - a.timeMs),
    };
  });
}

/** Clocks of hosts differ; by more than this none does that is set at all. */
const clockSkewMs = 24 * 3_600_000;

/** Its time is none at which it can have been made. */
export function isFromFuture({ timeMs }: { readonly timeMs: number }, nowMs: number): boolean {
  return timeMs > nowMs + clockSkewMs;
}

/** @param newestFirst one group's snapshots */
export function applyPolicy<S extends PolicySubject>(
  newestFirst: readonly S[],
  policy: ForgetPolicy,
  nowMs: number,
): PolicyDecision<S>[] {
  const counters = periods.map(({ rule, label, period }) => ({
    label,
    period,
    left: policy[rule] ?? 0,
    latest: "",
  }));
  const past = newestFirst.filter((snapshot) => !isFromFuture(snapshot, nowMs));
  const newest = past[0];
  const withinFrom =
    policy.within === undefined || newest === undefined
      ? Infinity
      : subtractDuration(newest.timeMs, policy.within);

  const future = newestFirst.slice(0, newestFirst.length - past.length);
  const stays = future.map((snapshot) => ({ snapshot, keep: true, reasons: ["in the future"] }));
  const decided = past.map((snapshot, index) => {
    const reasons: string[] = [];
    for (const wanted of policy.tags) {
      if (wanted.every((tag) => snapshot.tags.includes(tag)))
        reasons.push(`has tags ${wanted.join(",")}`);
    }
    if (snapshot.timeMs >= withinFrom) reasons.push("within");
    for (const counter of counters) {
      if (counter.left === 0) continue;
      const period = counter.period(new Date(snapshot.timeMs), index);
      if (period === counter.latest) continue;
      counter.latest = period;
      counter.left--;
      reasons.push(counter.label);
    }
    return { snapshot, keep: reasons.length > 0, reasons };
  });
  return [...stays, ...decided];
}

type PeriodRule = "last" | "hourly" | "daily" | "weekly" | "monthly" | "yearly";

const periods: readonly {
  rule: PeriodRule;
  label: string;
  period: (date: Date, index: number) => string;
}[] = [
  { rule: "last", label: "last snapshot", period: (_date, index) => `#${index}` },
  { rule: "hourly", label: "hourly snapshot", period: (date) => `${day(date)}T${date.getHours()}` },
  { rule: "daily", label: "daily snapshot", period: day },
  { rule: "weekly", label: "weekly snapshot", period: isoWeek },
  {
    rule: "monthly",
    label: "monthly snapshot",
    period: (date) => `${date.getFullYear()}-${date.getMonth()}`,
  },
  { rule: "yearly", label: "yearly snapshot", period: (date) => `${date.getFullYear()}` },
];

function day(date: Date): string {
  return `${date.getFullYear()}-${date.getMonth()}-${date.getDate()}`;
}

/** ISO 8601: weeks begin on Monday and belong to the year that holds their Thursday. */
function isoWeek(date: Date): string {
  const thursday = new Date(
    date.getFullYear(),
    date.getMonth(),
    date.getDate() + 3 - ((date.getDay() + 6) % 7),
  );
  const yearStart = new Date(thursday.getFullYear(), 0, 1);
  const days = Math.round((thursday.getTime() - yearStart.getTime()) / 86_400_000);
  return `${thursday.getFullYear()}-W${Math.floor(days / 7) + 1}`;
}
