import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BlobMarks } from "../../src/repo/blob-index/index.ts";

describe("BlobMarks", () => {
  it("counts as a set does, also in packs that come later", () => {
    const mark = fc.tuple(fc.nat({ max: 9 }), fc.nat({ max: 12 }));
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 13, max: 40 }), { minLength: 10, maxLength: 10 }),
        fc.array(mark),
        (blobCounts, list) => {
          const index = { packCount: 3, blobCount: (pack: number) => blobCounts[pack]! };
          const marks = new BlobMarks(index);
          const model = new Set<string>();
          for (const [pack, ordinal] of list) {
            index.packCount = Math.max(index.packCount, pack + 1);
            const key = `${pack}/${ordinal}`;
            expect(marks.isMarked({ pack, ordinal })).toBe(model.has(key));
            expect(marks.mark({ pack, ordinal, sealedLength: ordinal * 10 })).toBe(!model.has(key));
            model.add(key);
          }
          for (let pack = 0; pack < 10; pack++) {
            const ordinals = [...model]
              .filter((key) => key.startsWith(`${pack}/`))
              .map((key) => Number(key.split("/")[1]));
            expect(marks.usedCount(pack)).toBe(ordinals.length);
            expect(marks.usedBytes(pack)).toBe(
              ordinals.reduce((sum, ordinal) => sum + ordinal * 10, 0),
            );
            for (let ordinal = 0; ordinal < 13; ordinal++)
              expect(marks.isMarked({ pack, ordinal })).toBe(ordinals.includes(ordinal));
          }
        },
      ),
    );
  });
});
