import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { parseCalendarDuration, parseElapsed } from "../../src/durations.ts";
import {
  applyPolicy,
  type ForgetPolicy,
  groupSnapshots,
} from "../../src/repo/ops/forget-policy.ts";

const hourMs = 3_600_000;
const dayMs = 24 * hourMs;
const noon = new Date(2026, 5, 17, 12).getTime();
const nowMs = new Date(2027, 5, 17, 12).getTime();

function subject(timeMs: number, tags: string[] = [], hostname = "web1", paths = ["/disk"]) {
  return { timeMs, tags, hostname, paths };
}

function kept(times: number[], policy: Partial<ForgetPolicy>): number[] {
  const newestFirst = times.map((time) => subject(time)).sort((a, b) => b.timeMs - a.timeMs);
  return applyPolicy(newestFirst, { tags: [], ...policy }, nowMs)
    .filter((decision) => decision.keep)
    .map((decision) => decision.snapshot.timeMs);
}

describe("applyPolicy()", () => {
  it("keeps the newest of each of the last n days that hold a snapshot", () => {
    const times = [
      noon,
      noon - hourMs,
      noon - dayMs,
      noon - dayMs - hourMs,
      noon - 5 * dayMs,
      noon - 9 * dayMs,
    ];
    expect(kept(times, { daily: 3 })).toEqual([noon, noon - dayMs, noon - 5 * dayMs]);
  });

  it("keeps the last n whatever their times", () => {
    expect(kept([noon, noon, noon - 1], { last: 2 })).toEqual([noon, noon]);
  });

  it("counts weeks from Monday, across the turn of a year", () => {
    const sunday = new Date(2027, 0, 3, 12).getTime();
    const monday = new Date(2027, 0, 4, 12).getTime();
    const thursdayBefore = new Date(2026, 11, 31, 12).getTime();
    expect(kept([monday, sunday, thursdayBefore], { weekly: 9 })).toEqual([monday, sunday]);
  });

  it("measures keep-within from the newest snapshot of the group, not from today", () => {
    const longAgo = new Date(2019, 2, 31, 12).getTime();
    expect(
      kept([longAgo, longAgo - 2 * dayMs, longAgo - 40 * dayMs], {
        within: parseCalendarDuration("1m"),
      }),
    ).toEqual([longAgo, longAgo - 2 * dayMs]);
  });

  it("names every reason for which a snapshot stays", () => {
    const policy = { last: 1, daily: 1, tags: [["gold", "x"], ["lead"]] };
    const [decision] = applyPolicy([subject(noon, ["gold", "x"])], policy, nowMs);
    expect(decision!.reasons).toEqual(["has tags gold,x", "last snapshot", "daily snapshot"]);
  });

  it("keeps the newest snapshot under any rule that counts, and never more than asked", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 400 * 24 }), { minLength: 1, maxLength: 60 }),
        fc.constantFrom("last", "hourly", "daily", "weekly", "monthly", "yearly"),
        fc.integer({ min: 1, max: 10 }),
        (hours, rule, count) => {
          const times = hours.map((hour) => noon - hour * hourMs);
          const result = kept(times, { [rule]: count });
          expect(result[0]).toBe(Math.max(...times));
          expect(result.length).toBeLessThanOrEqual(count);
        },
      ),
    );
  });
});

describe("groupSnapshots()", () => {
  it("puts snapshots of one host and one set of paths together, in whatever order the paths came", () => {
    const groups = groupSnapshots(
      [
        subject(1, [], "a", ["/x", "/y"]),
        subject(3, [], "a", ["/y", "/x"]),
        subject(2, [], "b", ["/x", "/y"]),
      ],
      ["host", "paths"],
      () => "",
    );
    expect(groups.map((group) => group.snapshots.map((snapshot) => snapshot.timeMs))).toEqual([
      [3, 1],
      [2],
    ]);
  });
});

describe("durations", () => {
  it.each([
    ["24h", 24 * hourMs],
    ["1d12h", 36 * hourMs],
    ["90s", 90_000],
    ["0", 0],
  ])("reads a grace of %s", (text, ms) => {
    expect(parseElapsed(text)).toBe(ms);
  });

  it.each(["", "h", "1", "1x", "-1h", "1h "])("refuses a grace of %j", (text) => {
    expect(() => parseElapsed(text)).toThrow("Cannot read duration");
  });

  it.each(["", "5", "1h1d", "d"])("refuses a calendar duration of %j", (text) => {
    expect(() => parseCalendarDuration(text)).toThrow("Cannot read duration");
  });
});
