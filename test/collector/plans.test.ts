/** What is deleted, repacked and waited for, by plans that touch nothing. */
import { fc, test } from "@fast-check/vitest";
import { describe, expect } from "vitest";
import { UsageError } from "../../src/errors.ts";
import type { Census, Mark } from "../../src/repo/format/index.ts";
import type { Named } from "../../src/repo/ops/protocol.ts";
import {
  type PackUse,
  parseUnusedLimit,
  planMark,
} from "../../src/repo/ops/collector/mark-plan.ts";
import type { ObservedSession } from "../../src/repo/ops/collector/sessions-seen.ts";
import { markablePacks, planSweeps } from "../../src/repo/ops/collector/sweep-plan.ts";

const packUse = fc
  .record({
    blobs: fc.array(fc.record({ bytes: fc.integer({ min: 1, max: 9999 }), isUsed: fc.boolean() }), {
      minLength: 1,
      maxLength: 8,
    }),
    overhead: fc.integer({ min: 0, max: 500 }),
  })
  .map(({ blobs, overhead }): Omit<PackUse, "name"> => {
    const used = blobs.filter(({ isUsed }) => isUsed);
    const sum = (some: typeof blobs): number => some.reduce((total, { bytes }) => total + bytes, 0);
    return {
      size: sum(blobs) + overhead,
      blobCount: blobs.length,
      usedCount: used.length,
      usedBytes: sum(used),
    };
  });
const packUses = fc
  .array(packUse, { maxLength: 20 })
  .map((packs) => packs.map((pack, at): PackUse => ({ ...pack, name: `pack ${at}` })));
const limits = fc.record({
  maxUnused: fc.oneof(
    fc.record({ kind: fc.constant("percent" as const), percent: fc.integer({ min: 0, max: 99 }) }),
    fc.record({ kind: fc.constant("bytes" as const), bytes: fc.nat(20_000) }),
    fc.constant({ kind: "unlimited" as const }),
  ),
  maxRepackBytes: fc.oneof(fc.constant(Infinity), fc.nat(30_000)),
});

describe("planMark()", () => {
  test.prop([packUses, limits])("never gives up a used blob without copying it", (packs, given) => {
    const plan = planMark(packs, given);
    expect(plan.unused.every(({ usedCount }) => usedCount === 0)).toBe(true);
    expect(plan.unused).toHaveLength(packs.filter(({ usedCount }) => usedCount === 0).length);
    expect(plan.repack.every(({ usedCount, blobCount }) => usedCount < blobCount)).toBe(true);
    const bytes = plan.repack.reduce((sum, { usedBytes }) => sum + usedBytes, 0);
    expect(plan.repackBytes).toBe(bytes);
    expect(bytes).toBeLessThanOrEqual(given.maxRepackBytes);
  });

  test.prop([packUses, limits.filter(({ maxRepackBytes }) => maxRepackBytes === Infinity)])(
    "keeps what stays unused within its bound",
    (packs, given) => {
      const { unusedBytesLeft } = planMark(packs, given);
      const used = packs.reduce((sum, { usedBytes }) => sum + usedBytes, 0);
      const { maxUnused } = given;
      if (maxUnused.kind === "bytes") expect(unusedBytesLeft).toBeLessThanOrEqual(maxUnused.bytes);
      if (maxUnused.kind === "percent")
        expect(unusedBytesLeft * (100 - maxUnused.percent)).toBeLessThanOrEqual(
          used * maxUnused.percent + 1e-6,
        );
    },
  );

  test("takes the emptiest packs first", () => {
    const pack = (name: string, usedBytes: number): PackUse => ({
      ...{ name, size: 1000, blobCount: 10, usedCount: 5, usedBytes },
    });
    const plan = planMark([pack("full", 900), pack("empty", 100), pack("half", 500)], {
      maxUnused: { kind: "bytes", bytes: 700 },
      maxRepackBytes: Infinity,
    });
    expect(plan.repack.map(({ name }) => name)).toEqual(["empty"]);
  });
});

describe("parseUnusedLimit()", () => {
  test("reads percents, sizes and unlimited, and nothing else", () => {
    expect(parseUnusedLimit("5%")).toEqual({ kind: "percent", percent: 5 });
    expect(parseUnusedLimit("200M")).toEqual({ kind: "bytes", bytes: 200 * 2 ** 20 });
    expect(parseUnusedLimit("unlimited")).toEqual({ kind: "unlimited" });
    for (const bad of ["", "100%", "5", "five", "-5%", "5%%"]) {
      if (bad === "5") expect(parseUnusedLimit(bad)).toEqual({ kind: "bytes", bytes: 5 });
      else expect(() => parseUnusedLimit(bad), bad).toThrow(UsageError);
    }
  });
});

const mark: Named<Mark> = {
  ...{ name: "m1", record: "mark", generation: 1, time: "2026-11-22T03:00:00.000Z" },
  ...{ session: "0".repeat(32), packs: ["aa".repeat(32)], reason: "unused" },
};
const nowMs = Date.parse("2026-11-23T03:00:00.000Z");
const graceMs = 24 * 3_600_000;

function session(id: string, liveness: ObservedSession["liveness"] = "live"): ObservedSession {
  return {
    ...{
      session: id,
      ttlSeconds: 1800,
      kind: "writer",
      hostname: `host ${id}`,
      time: "2026-11-23T02:59:00.000Z",
      newestName: `${id} 0`,
      liveness,
    },
    ...{ newestNumber: 0, firstSeenMs: nowMs, objects: [], ackedMarks: [] },
  };
}

function census(seen: readonly string[], marksSeen: readonly string[]): Named<Census> {
  return {
    ...{ name: "c", time: mark.time, clock: "vm", session: "0".repeat(32), marksSeen },
    dataListing: Buffer.from("aa".repeat(32), "hex"),
    sessionsSeen: seen.map((id) => ({
      ...{ session: id, newestName: `${id} 0`, newestNumber: 0, firstSeen: mark.time },
      state: "active" as const,
    })),
  };
}

describe("planSweeps()", () => {
  const clock = { nowMs, graceMs };

  test("waits for the grace, and for sessions that may not know the mark", () => {
    expect(planSweeps([mark], [], [], clock)[0]?.waitsFor).toBeUndefined();
    expect(planSweeps([mark], [], [], { ...clock, nowMs: nowMs - 1 })[0]?.waitsFor).toBeDefined();
    expect(planSweeps([mark], [], [session("a")], clock)[0]?.waitsFor?.sessions).toHaveLength(1);
  });

  test("does not wait for a session that a census taken after the mark has not seen", () => {
    const after = census(["b"], [mark.name]);
    expect(planSweeps([mark], [after], [session("a")], clock)[0]?.waitsFor).toBeUndefined();
    expect(planSweeps([mark], [after], [session("b")], clock)[0]?.waitsFor).toBeDefined();
    const before = census(["b"], []);
    expect(planSweeps([mark], [before], [session("a")], clock)[0]?.waitsFor).toBeDefined();
  });

  test("does not wait for a session that has acknowledged the mark", () => {
    const acked = { ...session("a"), ackedMarks: [mark.name] };
    expect(planSweeps([mark], [], [acked], clock)[0]?.waitsFor).toBeUndefined();
    const other = { ...mark, name: "m2" };
    expect(planSweeps([other], [], [acked], clock)[0]?.waitsFor).toBeDefined();
  });

  test.each(["ended", "dead", "expired"] as const)(
    "does not wait for a session that is %s",
    (how) => {
      expect(planSweeps([mark], [], [session("a", how)], clock)[0]?.waitsFor).toBeUndefined();
    },
  );
});

describe("markablePacks()", () => {
  const listing = new Set(["aa".repeat(32), "bb".repeat(32)]);

  test("is everything while nobody is at work, else what is older than they are (R5)", () => {
    expect(markablePacks(listing, [], [])).toEqual(listing);
    expect(markablePacks(listing, [session("a")], [])).toBeUndefined();
    expect(markablePacks(listing, [session("a")], [census(["a"], [])])).toBeUndefined();
    expect(markablePacks(listing, [session("a")], [census(["b"], [])])).toEqual(
      new Set(["aa".repeat(32)]),
    );
  });
});
