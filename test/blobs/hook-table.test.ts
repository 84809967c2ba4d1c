import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { HookTable, hookSampleBits } from "../../src/repo/blobs/hook-table.ts";

const sampled = fc
  .integer({ min: 0, max: 2 ** 30 - 1 })
  .map((value) => value * 2 ** hookSampleBits);
const word = fc.integer({ min: 1, max: 2 ** 32 - 1 });

describe("HookTable", () => {
  it("answers as a Map that keeps the first of each value, while there is room", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(sampled, word, word, word), { maxLength: 400 }), (entries) => {
        const table = new HookTable(1 << 12);
        const model = new Map<string, [number, number]>();
        for (const [low, high, prefixLow, prefixHigh] of entries) {
          const key = `${low} ${high}`;
          expect(table.add(low, high, prefixLow, prefixHigh)).toBe(!model.has(key));
          if (!model.has(key)) model.set(key, [prefixLow, prefixHigh]);
        }
        expect(table.count).toBe(model.size);
        for (const [low, high] of entries) {
          const at = table.find(low, high);
          expect([table.words[at], table.words[at + 1]]).toEqual(model.get(`${low} ${high}`));
        }
        expect(table.find(4, 0)).toBe(model.has("4 0") ? table.find(4, 0) : -1);
      }),
    );
  });

  it("stays within its bound: the fuller, the sparser its sample", () => {
    const slots = 1 << 13;
    const table = new HookTable(slots);
    for (let n = 1; n < 200_000; n++) table.add(n * 4, Math.imul(n, 0x9e3779b1) >>> 0, n, n);
    expect(table.words.length).toBe(slots * 4);
    expect(table.count).toBeGreaterThan(slots / 8);
    // What is left is a sample by value, so that any host's table of the same blocks has the same.
    const found = Array.from({ length: 200_000 }, (_, n) => n).filter(
      (n) => table.find(n * 4, Math.imul(n, 0x9e3779b1) >>> 0) !== -1,
    );
    const step = found[1]! - found[0]!;
    expect(found.every((n) => n % step === 0)).toBe(true);
  });

  it("takes nothing that is not in the sample", () => {
    const table = new HookTable(1 << 12);
    expect(table.add(1, 1, 1, 1)).toBe(false);
    expect(table.find(1, 1)).toBe(-1);
  });
});
