/**
 * Which snapshots a policy keeps, and why: pure, so that `forget --dry-run` and `forget` cannot differ.
 *
 * As in restic: within a group, newest first, each `keep-…` counts periods that hold a snapshot and
 * keeps the newest of each. Periods are those of the local calendar. `keep-within` counts from the
 * group's newest snapshot, so a host that was off for a year loses nothing.
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

export function groupSnapshots<S extends PolicySubject>(
  snapshots: readonly S[],
  by: readonly GroupKey[],
): SnapshotGroup<S>[] {
  const groups = new Map<string, S[]>();
  for (const snapshot of snapshots) {
    const key = JSON.stringify([
      by.includes("host") ? snapshot.hostname : null,
      by.includes("paths") ? [...snapshot.paths].sort() : null,
      by.includes("tags") ? [...snapshot.tags].sort() : null,
    ]);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [snapshot]);
    else group.push(snapshot);
  }
  return [...groups.values()].map((members) => {
    const [first] = members;
    return {
      ...(by.includes("host") ? { hostname: first!.hostname } : {}),
      ...(by.includes("paths") ? { paths: [...first!.paths].sort() } : {}),
      ...(by.includes("tags") ? { tags: [...first!.tags].sort() } : {}),
      snapshots: members.sort((a, b) => b.timeMs - a.timeMs),
    };
  });
}

/** @param newestFirst one group's snapshots */
export function applyPolicy<S extends PolicySubject>(
  newestFirst: readonly S[],
  policy: ForgetPolicy,
): PolicyDecision<S>[] {
  const counters = periods.map(({ rule, label, period }) => ({
    label,
    period,
    left: policy[rule] ?? 0,
    latest: "",
  }));
  const newest = newestFirst[0];
  const withinFrom =
    policy.within === undefined || newest === undefined
      ? Infinity
      : subtractDuration(newest.timeMs, policy.within);

  return newestFirst.map((snapshot, index) => {
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
