/** The rules by which a segment is cut: docs/format.md, image chunks (R23, R24). */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  BlockHasher,
  blockBytes,
  checkImageCutParams,
  cutSegment,
  defaultImageCutParams,
  holeBit,
  imageThreshold,
  runCountMask,
  settledRuns,
  type BlockHashes,
  type ImageCutParams,
} from "../../src/chunker/index.ts";

const params = {
  ...defaultImageCutParams,
  minBytes: 16_384,
  averageBytes: 65_536,
  threshold: imageThreshold(16_384, 65_536, 4096),
  holeBlocks: 16,
};
const segmentBlocks = params.segmentBytes / blockBytes;
const [minBlocks, maxBlocks] = [params.minBytes / blockBytes, params.maxBytes / blockBytes];

/** A block by its hash alone: data with a value, or zero (whose value is the key's, the same for all). */
type Block = number | "zero";
const zeroValue = 0x9000_0000;

function hashesOf(blocks: readonly Block[]): BlockHashes {
  return {
    values: Uint32Array.from(blocks, (block) => (block === "zero" ? zeroValue : block)),
    zero: Uint8Array.from(blocks, (block) => (block === "zero" ? 1 : 0)),
  };
}

function cut(blocks: readonly Block[], changed: Partial<ImageCutParams> = {}): number[] {
  const out = new Uint16Array(blocks.length);
  const runCount = cutSegment(hashesOf(blocks), blocks.length, { ...params, ...changed }, out);
  return [...out.subarray(0, runCount)];
}

function ends(runs: readonly number[]): number[] {
  let end = 0;
  return runs.map((run) => (end += run & runCountMask));
}

const never = 0xffff_ffff;
const repeat = (count: number, block: Block) => Array.from({ length: count }, () => block);
const hole = (count: number) => holeBit | count;

/** Stretches of data, whose values cut here and there, and of zeros around the length of a hole. */
const stretch = fc.oneof(
  fc.array(
    fc.oneof(
      { weight: 9, arbitrary: fc.integer({ min: params.threshold, max: never }) },
      { weight: 1, arbitrary: fc.nat(params.threshold - 1) },
    ),
    { maxLength: 90 },
  ),
  fc.constantFrom(1, 2, 14, 15, 16, 17, 18, 70).map((count) => repeat(count, "zero")),
);
const segment = fc
  .array(stretch, { maxLength: 24 })
  .map((stretches) => stretches.flat().slice(0, segmentBlocks));
/** The value of a zero block may itself be one that cuts. */
const threshold = fc.constantFrom(params.threshold, zeroValue + 1);

describe("cutSegment()", () => {
  test("gives runs that join to the segment: holes of zeros only, chunks within their bounds", () => {
    fc.assert(
      fc.property(segment, threshold, (blocks, below) => {
        const runs = cut(blocks, { threshold: below });
        let at = 0;
        runs.forEach((run, index) => {
          const count = run & runCountMask;
          const covered = blocks.slice(at, at + count);
          at += count;
          const next = runs[index + 1];
          if (run & holeBit) {
            expect(count).toBeGreaterThanOrEqual(params.holeBlocks);
            expect(new Set(covered)).toEqual(new Set(["zero"]));
            // A hole takes all the zeros there are.
            expect(blocks[at]).not.toBe("zero");
          } else {
            expect(count).toBeLessThanOrEqual(maxBlocks);
            const isTail = next === undefined || (next & holeBit) !== 0;
            if (!isTail) expect(count).toBeGreaterThanOrEqual(minBlocks);
          }
        });
        expect(at).toBe(blocks.length);
      }),
      { numRuns: 300 },
    );
  });

  test("cuts as the rules say, word by word", () => {
    fc.assert(
      fc.property(segment, threshold, (blocks, below) => {
        expect(cut(blocks, { threshold: below })).toEqual(cutBySpecification(blocks, below));
      }),
      { numRuns: 300 },
    );
  });

  test("meets the same cuts again from any old cut on", () => {
    fc.assert(
      fc.property(segment, threshold, (blocks, below) => {
        const runs = cut(blocks, { threshold: below });
        ends(runs).forEach((end, index) => {
          expect(cut(blocks.slice(end), { threshold: below })).toEqual(runs.slice(index + 1));
        });
      }),
      { numRuns: 60 },
    );
  });

  test("after a change, settled runs and a re-cut from there equal a cut of the whole segment", () => {
    fc.assert(
      fc.property(segment, fc.nat(segmentBlocks), stretch, threshold, (old, at, patch, below) => {
        const changed = Math.min(at, old.length);
        const mended = [
          ...old.slice(0, changed),
          ...patch,
          ...old.slice(changed + patch.length),
        ].slice(0, segmentBlocks);
        const oldRuns = cut(old, { threshold: below });
        const settled = settledRuns(Uint16Array.from(oldRuns), changed, params.holeBlocks);
        const kept = oldRuns.slice(0, settled);
        const from = ends(kept).at(-1) ?? 0;
        expect([...kept, ...cut(mended.slice(from), { threshold: below })]).toEqual(
          cut(mended, { threshold: below }),
        );
      }),
      { numRuns: 500 },
    );
  });

  test("keeps the runs that end a hole's length before the change as settled, and no more", () => {
    const runs = Uint16Array.from([10, hole(20), 30]);
    const settledAt = (block: number) => settledRuns(runs, block, 16);
    expect([0, 25, 26, 45, 46, 75, 76].map(settledAt)).toEqual([0, 0, 1, 1, 2, 2, 3]);
  });

  test("equal blocks: below the threshold always min, else always max", () => {
    expect(cut(repeat(64, params.threshold - 1))).toEqual(repeat(16, minBlocks));
    expect(cut(repeat(3 * maxBlocks, params.threshold))).toEqual(repeat(3, maxBlocks));
  });

  test("zeros: 15 blocks stay in their chunk, 16 and 17 are a hole that ends it", () => {
    const between = (zeros: number) =>
      cut([...repeat(3, never), ...repeat(zeros, "zero"), ...repeat(3, never)]);
    expect(between(15)).toEqual([21]);
    expect(between(16)).toEqual([3, hole(16), 3]);
    expect(between(17)).toEqual([3, hole(17), 3]);
  });

  test("zeros at the segment's ends are counted inside it only", () => {
    expect(cut([...repeat(15, "zero"), never, ...repeat(15, "zero")])).toEqual([31]);
    expect(cut([...repeat(16, "zero"), never, ...repeat(16, "zero")])).toEqual([
      hole(16),
      1,
      hole(16),
    ]);
    expect(cut(repeat(segmentBlocks, "zero"))).toEqual([hole(segmentBlocks)]);
    expect(cut(repeat(15, "zero"))).toEqual([15]);
  });

  test("a short run of zeros may be cut like other blocks", () => {
    expect(cut(repeat(15, "zero"), { threshold: zeroValue + 1 })).toEqual([4, 4, 4, 3]);
    expect(cut([...repeat(maxBlocks - 2, never), ...repeat(15, "zero")])).toEqual([maxBlocks, 13]);
  });

  test("the block that fills the minimum may end a chunk, none before it", () => {
    const at = (block: number) => cut([...repeat(block, never), 0, ...repeat(8, never)]);
    expect(at(minBlocks - 2)).toEqual([minBlocks + 7]);
    expect(at(minBlocks - 1)).toEqual([minBlocks, 8]);
  });

  test("nothing gives no run, a single block one", () => {
    expect(cut([])).toEqual([]);
    expect(cut([never])).toEqual([1]);
    expect(cut(["zero"])).toEqual([1]);
    expect(cut(["zero"], { holeBlocks: 1 })).toEqual([hole(1)]);
  });

  test("refuses more blocks than a segment has, or than `out` has room for", () => {
    expect(() => cut(repeat(segmentBlocks + 1, never))).toThrow("one segment");
    expect(() => cutSegment(hashesOf([never, never]), 2, params, new Uint16Array(1))).toThrow(
      "room",
    );
    expect(() => cutSegment(hashesOf([never]), 2, params, new Uint16Array(2))).toThrow("hash");
  });

  test("an insert of one block moves only the cuts near it", () => {
    const hasher = BlockHasher.create(new Uint8Array(32).fill(1), params.segmentBytes);
    fillWithNoise(hasher.buffer);
    const half = segmentBlocks / 2;
    const hashes = hasher.hash(0, segmentBlocks);
    const blocks = [...hashes.values].slice(0, segmentBlocks - 1);
    fc.assert(
      fc.property(fc.integer({ min: 0, max: half }), fc.nat(never), (at, value) => {
        const before = ends(cut(blocks));
        const after = ends(cut([...blocks.slice(0, at), value, ...blocks.slice(at)]));
        const shifted = new Set(before.map((end) => (end > at ? end + 1 : end)));
        const moved = after.filter((end) => !shifted.has(end));
        // A cut is met again where two chunks of chance end together: seldom beyond a few chunks.
        expect(moved.length).toBeLessThan(16);
        for (const end of moved) expect(end).toBeGreaterThanOrEqual(at);
      }),
      { numRuns: 100 },
    );
  });

  test("meets the average it is asked for", () => {
    const hasher = BlockHasher.create(new Uint8Array(32).fill(2), params.segmentBytes);
    fillWithNoise(hasher.buffer);
    let chunkCount = 0;
    const out = new Uint16Array(segmentBlocks);
    for (let key = 0; key < 16; key++) {
      const other = BlockHasher.create(new Uint8Array(32).fill(key), params.segmentBytes);
      other.buffer.set(hasher.buffer);
      chunkCount += cutSegment(other.hash(0, segmentBlocks), segmentBlocks, params, out);
    }
    const average = (16 * params.segmentBytes) / chunkCount;
    expect(average).toBeGreaterThan(0.92 * params.averageBytes);
    expect(average).toBeLessThan(1.08 * params.averageBytes);
  });
});

describe("image cut parameters", () => {
  test("the threshold follows from the sizes", () => {
    expect(imageThreshold(16_384, 65_536, 4096)).toBe(Math.floor(2 ** 32 / 13));
    expect(imageThreshold(4096, 4096, 4096)).toBe(0xffff_ffff);
    expect(params.threshold).toBe(330_382_099);
    expect(defaultImageCutParams.threshold).toBe(Math.floor(2 ** 32 / 25));
  });

  test("those that cannot cut are refused", () => {
    expect(() => {
      checkImageCutParams(params);
    }).not.toThrow();
    const wrong: Record<string, unknown>[] = [
      { blockBytes: 512 },
      { minBytes: 0 },
      { minBytes: 6000 },
      { minBytes: params.averageBytes + blockBytes },
      { maxBytes: params.averageBytes - blockBytes },
      { maxBytes: params.segmentBytes + blockBytes },
      { maxBytes: NaN },
      { segmentBytes: 32_768 * blockBytes },
      { threshold: -1 },
      { threshold: 2 ** 32 },
      { threshold: 0.5 },
      { holeBlocks: 0 },
      { holeBlocks: 1.5 },
    ];
    for (const changed of wrong) {
      expect(() => {
        checkImageCutParams({ ...params, ...changed });
      }).toThrow(RangeError);
    }
  });
});

/** The rules again, the slow way: each decision is taken from the blocks since the last cut alone. */
function cutBySpecification(blocks: readonly Block[], below: number): number[] {
  if (blocks.length === 0) return [];
  const zerosAt = (at: number) => {
    const end = blocks.findIndex((block, index) => index >= at && block !== "zero");
    return (end === -1 ? blocks.length : end) - at;
  };
  const first = zerosAt(0);
  if (first >= params.holeBlocks) {
    return [hole(first), ...cutBySpecification(blocks.slice(first), below)];
  }
  let length = 1;
  while (
    length < blocks.length &&
    zerosAt(length) < params.holeBlocks &&
    length < maxBlocks &&
    !(length >= minBlocks && hashesOf(blocks).values[length - 1]! < below)
  ) {
    length++;
  }
  return [length, ...cutBySpecification(blocks.slice(length), below)];
}

/** Noise that is the same in every run (xorshift32). */
function fillWithNoise(bytes: Uint8Array): void {
  const words = new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4);
  let state = 0x9e37_79b9;
  for (let index = 0; index < words.length; index++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[index] = state;
  }
}
