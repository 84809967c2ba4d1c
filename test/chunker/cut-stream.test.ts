/** FastCDC over slices: the same chunks however a stream arrives. */
import { createRequire } from "node:module";
import fc from "fast-check";
import type * as FastCdcWasm from "fastcdc-wasm";
import { describe, expect, test } from "vitest";
import {
  checkStreamCutParams,
  cutStream,
  defaultStreamCutParams,
  type StreamCutParams,
} from "../../src/chunker/index.ts";

const params: StreamCutParams = { minBytes: 64, averageBytes: 256, maxBytes: 1024 };

/** Text-like, random, and constant stretches. */
const stream = fc
  .array(
    fc.oneof(
      fc.uint8Array({ maxLength: 3000 }),
      fc.nat(4000).map((length) => new Uint8Array(length)),
      fc.nat(4000).map((length) => Uint8Array.from({ length }, (_, index) => (index * 7) % 251)),
    ),
    { maxLength: 6 },
  )
  .map((parts) => new Uint8Array(Buffer.concat(parts)));

/** Feeds `bytes` in slices of the given lengths (round and round), as a reader of a file would. */
function cutInSlices(
  bytes: Uint8Array,
  slices: readonly number[],
  sizes: StreamCutParams,
): number[] {
  const lengths: number[] = [];
  let cut = 0;
  let read = 0;
  for (let turn = 0; ; turn++) {
    read = Math.min(bytes.length, read + slices[turn % slices.length]!);
    const isEnd = read === bytes.length;
    for (const length of cutStream(bytes.subarray(cut, read), isEnd, sizes)) {
      lengths.push(length);
      cut += length;
    }
    if (isEnd) return lengths;
  }
}

describe("cutStream()", () => {
  test("gives chunks that join to the stream, each within its bounds", () => {
    fc.assert(
      fc.property(stream, (bytes) => {
        const lengths = [...cutStream(bytes, true, params)];
        expect(lengths.reduce((sum, length) => sum + length, 0)).toBe(bytes.length);
        for (const length of lengths.slice(0, -1)) {
          expect(length).toBeGreaterThanOrEqual(params.minBytes);
        }
        for (const length of lengths) {
          expect(length).toBeGreaterThan(0);
          expect(length).toBeLessThanOrEqual(params.maxBytes);
        }
      }),
      { numRuns: 200 },
    );
  });

  test("does not care how the stream is sliced", () => {
    const slices = fc.array(fc.integer({ min: 1, max: 5000 }), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(stream, slices, (bytes, sliced) => {
        expect(cutInSlices(bytes, sliced, params)).toEqual([...cutStream(bytes, true, params)]);
      }),
      { numRuns: 300 },
    );
  });

  test("cuts as the package's own JavaScript does, which is given a copy", () => {
    const { get_chunks } = createRequire(import.meta.url)("fastcdc-wasm") as typeof FastCdcWasm;
    fc.assert(
      fc.property(stream, (bytes) => {
        let end = 0;
        const ends = Array.from(cutStream(bytes, true, params), (length) => (end += length));
        const starts = get_chunks(Uint8Array.from(bytes), 64, 256, 1024);
        expect([0, ...ends]).toEqual([...starts]);
      }),
      { numRuns: 100 },
    );
  });

  test("restarts at any cut with the same cuts", () => {
    fc.assert(
      fc.property(stream, (bytes) => {
        const lengths = [...cutStream(bytes, true, params)];
        let cut = 0;
        lengths.forEach((length, index) => {
          expect([...cutStream(bytes.subarray(cut), true, params)]).toEqual(lengths.slice(index));
          cut += length;
        });
      }),
      { numRuns: 50 },
    );
  });

  test("leaves the caller's array as it was, and takes a shared one", () => {
    fc.assert(
      fc.property(stream, (bytes) => {
        const copy = Uint8Array.from(bytes);
        cutStream(bytes, true, params);
        expect(Buffer.compare(bytes, copy)).toBe(0);
      }),
      { numRuns: 50 },
    );
    const shared = new Uint8Array(new SharedArrayBuffer(10_000)).fill(3);
    expect(cutStream(shared, true, params).length).toBeGreaterThan(0);
    expect(shared.every((byte) => byte === 3)).toBe(true);
  });

  test("equal bytes: always cut at max", () => {
    expect([...cutStream(new Uint8Array(2500), true, params)]).toEqual([1024, 1024, 452]);
    expect([...cutStream(new Uint8Array(2500), false, params)]).toEqual([1024, 1024]);
    // Full chunks are certain although the bytes end with them.
    expect([...cutStream(new Uint8Array(2048), false, params)]).toEqual([1024, 1024]);
  });

  test("an empty stream has no chunk, and a short one waits for its end", () => {
    expect([...cutStream(new Uint8Array(0), true, params)]).toEqual([]);
    expect([...cutStream(new Uint8Array(0), false, params)]).toEqual([]);
    expect([...cutStream(new Uint8Array(10), false, params)]).toEqual([]);
    expect([...cutStream(new Uint8Array(10), true, params)]).toEqual([10]);
  });

  test("an inserted byte moves only the cuts near it", () => {
    const sizes = { minBytes: 256, averageBytes: 1024, maxBytes: 4096 };
    const bytes = noise(200_000);
    const endsOf = (input: Uint8Array) => {
      let end = 0;
      return [...cutStream(input, true, sizes)].map((length) => (end += length));
    };
    const before = endsOf(bytes);
    fc.assert(
      fc.property(fc.nat(100_000), (at) => {
        const inserted = new Uint8Array(bytes.length + 1);
        inserted.set(bytes.subarray(0, at));
        inserted.set(bytes.subarray(at), at + 1);
        const shifted = new Set(before.map((end) => (end > at ? end + 1 : end)));
        expect(endsOf(inserted).filter((end) => !shifted.has(end)).length).toBeLessThan(16);
      }),
      { numRuns: 30 },
    );
  });

  test("cuts the default sizes over windows of its own as over one", () => {
    const bytes = noise(9 * 1024 * 1024 + 12_345);
    const whole = [...cutStream(bytes, true, defaultStreamCutParams)];
    expect(cutInSlices(bytes, [3_000_000, 1, 777], defaultStreamCutParams)).toEqual(whole);
    expect(Math.max(...whole)).toBeLessThanOrEqual(defaultStreamCutParams.maxBytes);
  });
});

describe("stream cut parameters", () => {
  test("sizes on which the package would trap, or bend, are refused before it is called", () => {
    const wrong: Partial<StreamCutParams>[] = [
      { minBytes: 63 },
      { minBytes: 64.5 },
      { minBytes: 512 },
      { averageBytes: 128 },
      { averageBytes: 300 },
      { averageBytes: 2048 },
      { averageBytes: NaN },
      { maxBytes: 1023 },
      { maxBytes: 8 * 1024 * 1024 + 1 },
    ];
    for (const changed of wrong) {
      const sizes = { ...params, ...changed };
      expect(() => {
        checkStreamCutParams(sizes);
      }).toThrow(RangeError);
      expect(() => cutStream(new Uint8Array(5000), true, sizes)).toThrow(RangeError);
    }
  });

  test("the least and the greatest sizes cut", () => {
    const greatest = 8 * 1024 * 1024;
    const lengths = cutStream(new Uint8Array(greatest + 1), true, {
      minBytes: greatest,
      averageBytes: greatest,
      maxBytes: greatest,
    });
    expect([...lengths]).toEqual([greatest, 1]);
    expect(cutStream(noise(5000), true, params).length).toBeGreaterThan(4);
  });
});

/** Noise that is the same in every run (xorshift32). */
function noise(length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  let state = 0x1234_5678;
  for (let index = 0; index < length; index++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes[index] = state >>> 24;
  }
  return bytes;
}
