import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { chooseRuns } from "../../src/repo/blob-index/run-plan.ts";
import { mergeIndexObjects, planMerges, splitPacks } from "../../src/repo/blob-index/index.ts";
import { encodeIndexObject, type IndexObject } from "../../src/repo/format/index.ts";
import { makePack, randomIds } from "./support.ts";

describe("planMerges()", () => {
  it("keeps the number of objects logarithmic, and writes each byte a few times only", () => {
    let objects: { name: string; size: number }[] = [];
    let written = 0;
    for (let night = 0; night < 3000; night++) {
      objects.push({ name: `night ${night}`, size: 8192 });
      for (const [n, group] of planMerges(objects).entries()) {
        const size = objects
          .filter(({ name }) => group.includes(name))
          .reduce((sum, object) => sum + object.size, 0);
        expect(size).toBeLessThan(9 * 1024 * 1024);
        objects = objects.filter(({ name }) => !group.includes(name));
        objects.push({ name: `merged ${night} ${n}`, size });
        written += size;
      }
    }
    expect(objects.length).toBeLessThan(30);
    expect(written / (3000 * 8192)).toBeLessThan(5);
  });

  it("names each object at most once, in groups of at least two that fit an object", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 300, max: 20_000_000 }), { maxLength: 60 }),
        (sizes) => {
          const objects = sizes.map((size, n) => ({ name: `${n}`, size }));
          const groups = planMerges(objects);
          const names = groups.flat();
          expect(new Set(names).size).toBe(names.length);
          for (const group of groups) {
            expect(group.length).toBeGreaterThan(1);
            expect(group.reduce((sum, name) => sum + sizes[Number(name)]!, 0)).toBeLessThan(
              9 * 1024 * 1024,
            );
          }
        },
      ),
    );
  });
});

describe("mergeIndexObjects()", () => {
  const names = ["aa".repeat(32), "bb".repeat(32)] as const;
  const isSame = (a: unknown, b: unknown): boolean => a === b;

  it("is the union by pack", () => {
    const packs = [1, 2, 3].map((count) => makePack({ ids: randomIds(count) }));
    const one: IndexObject = { replaces: [], session: undefined, packs: packs.slice(0, 2) };
    const two: IndexObject = { replaces: [], session: undefined, packs: packs.slice(1) };
    const merged = mergeIndexObjects(
      new Map([
        [names[1], two],
        [names[0], one],
      ]),
      isSame,
    );
    expect(merged?.replaces).toEqual(names);
    expect(new Set(merged?.packs)).toEqual(new Set(packs));
  });

  it("does not merge what contradicts itself", () => {
    const pack = makePack({ ids: randomIds(2) });
    const lie = makePack({ ids: randomIds(2), name: pack.name });
    const objectOf = (member: typeof pack): IndexObject => ({
      replaces: [],
      session: undefined,
      packs: [member],
    });
    expect(
      mergeIndexObjects(
        new Map([
          [names[0], objectOf(pack)],
          [names[1], objectOf(lie)],
        ]),
        isSame,
      ),
    ).toBeUndefined();
  });
});

describe("splitPacks()", () => {
  it("makes parts that fit an index object and keep every pack", () => {
    const packs = Array.from({ length: 9 }, () => makePack({ ids: randomIds(500) }));
    const parts = splitPacks(packs, 50_000);
    expect(parts.flat()).toEqual(packs);
    expect(parts.length).toBe(5);
    for (const part of parts)
      expect(
        encodeIndexObject({ replaces: [], session: undefined, packs: part }).length,
      ).toBeLessThan(50_100);
    expect(splitPacks([])).toEqual([]);
  });
});

describe("chooseRuns()", () => {
  it("keeps at most six runs, of sizes far apart, and moves each record a few times", () => {
    let runs: number[] = [];
    let moved = 0;
    const rounds = 2000;
    for (let round = 0; round < rounds; round++) {
      runs.push(1000);
      for (let chosen = plan(runs); chosen.length > 0; chosen = plan(runs)) {
        const size = chosen.reduce((sum, place) => sum + runs[place]!, 0);
        runs = [...runs.filter((_, place) => !chosen.includes(place)), size];
        moved += size;
      }
      expect(runs.length).toBeLessThanOrEqual(6);
    }
    expect(runs.reduce((sum, size) => sum + size, 0)).toBe(rounds * 1000);
    expect(moved / (rounds * 1000)).toBeLessThan(16);
  });

  it("rewrites a run whose records are mostly dead", () => {
    expect(chooseRuns([{ recordCount: 1_000_000, liveCount: 400_000 }])).toEqual([0]);
    expect(chooseRuns([{ recordCount: 1_000_000, liveCount: 600_000 }])).toEqual([]);
    expect(chooseRuns([{ recordCount: 1000, liveCount: 0 }])).toEqual([]);
  });
});

function plan(sizes: readonly number[]): number[] {
  return chooseRuns(sizes.map((size) => ({ recordCount: size, liveCount: size })));
}
