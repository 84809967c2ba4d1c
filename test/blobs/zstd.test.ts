import zlib from "node:zlib";
import { describe, expect, test } from "vitest";
import { CorruptionError, UsageError } from "../../src/errors.ts";
import {
  parseCompressionLevel,
  zstdDeltaParameters,
  zstdParameters,
} from "../../src/repo/blobs/levels.ts";
import { frameContentBytes } from "../../src/repo/blobs/zstd-frame.ts";
import { openBuiltIn, openNative, openZstd, type ZstdEngine } from "../../src/repo/blobs/zstd.ts";
import { fixedRandom } from "../support/fixed-random.ts";

const text = new TextEncoder().encode("The quick brown fox jumps over the lazy dog. ".repeat(3000));
const noise = fixedRandom("noise").bytes(100_000);

const parameters = { plain: zstdParameters("auto"), delta: zstdDeltaParameters("auto") };
const engines: [string, ZstdEngine | undefined][] = [
  ["zstd-napi", openNative(parameters)],
  ["node:zlib", openBuiltIn(parameters)],
];

describe.each(engines)("%s", (name, engine) => {
  test.skipIf(engine === undefined)(
    "gives back what it compressed, with and without dictionary",
    () => {
      if (engine === undefined) throw new Error(`${name} is not here`);
      const dictionary = new Uint8Array([0, 0, 0, 0, 0, 0, 0, 0, ...noise]);
      for (const plain of [
        text,
        noise,
        new Uint8Array(0),
        new Uint8Array(1),
        text.subarray(0, 255),
      ]) {
        for (const using of [undefined, dictionary]) {
          const frame = engine.compress(plain, using)!.slice();
          expect(frameContentBytes(frame)).toBe(plain.length);
          expect(Buffer.compare(engine.decompress(frame, plain.length, using), plain)).toBe(0);
        }
      }
    },
  );

  test.skipIf(engine === undefined)("uses a dictionary for one frame only", () => {
    const dictionary = new Uint8Array([0, 0, 0, 0, 0, 0, 0, 0, ...noise]);
    const with_ = engine!.compress(noise, dictionary)!.length;
    expect(with_).toBeLessThan(1000);
    expect(engine!.compress(noise)!.length).toBeGreaterThan(noise.length);
  });

  test.skipIf(engine === undefined)(
    "takes a dictionary whose base begins with zstd's magic",
    () => {
      const base = Uint8Array.of(0x37, 0xa4, 0x30, 0xec, ...noise);
      const dictionary = new Uint8Array([0, 0, 0, 0, 0, 0, 0, 0, ...base]);
      const frame = engine!.compress(base, dictionary)!.slice();
      expect(frame.length).toBeLessThan(1000);
      expect(Buffer.compare(engine!.decompress(frame, base.length, dictionary), base)).toBe(0);
    },
  );

  test.skipIf(engine === undefined)("refuses damaged frames, and works on afterwards", () => {
    const frame = engine!.compress(text)!.slice();
    const damaged = [
      frame.subarray(0, frame.length - 1),
      frame.subarray(0, 5),
      new Uint8Array(0),
      noise.subarray(0, 500),
      frame.map((byte, at) => (at === 20 ? byte ^ 0xff : byte)),
    ];
    for (const bytes of damaged) {
      try {
        // A flipped bit need not break the frame: then the content's id tells.
        engine!.decompress(bytes, text.length);
      } catch (error) {
        expect(error).toBeInstanceOf(CorruptionError);
      }
      expect(Buffer.compare(engine!.decompress(frame, text.length), text)).toBe(0);
    }
    expect(() => engine!.decompress(damaged[0]!, text.length)).toThrow(CorruptionError);
    expect(() => engine!.decompress(damaged[3]!, text.length)).toThrow(CorruptionError);
  });

  test.skipIf(engine === undefined)(
    "refuses a frame of another length before it is decompressed",
    () => {
      const bomb = engine!.compress(new Uint8Array(8 * 1024 * 1024))!.slice();
      expect(() => engine!.decompress(bomb, 1024)).toThrow(CorruptionError);
    },
  );
});

test("an engine is found here", () => {
  expect(openZstd("auto").compress(text)!.length).toBeLessThan(text.length / 50);
});

test("node:zlib's engine is there where Node has zstd with dictionaries, and only there", () => {
  const hasZstd = "zstdCompressSync" in zlib;
  if (!hasZstd) expect(openBuiltIn(parameters)).toBeUndefined();
  else expect([undefined, "node:zlib"]).toContain(openBuiltIn(parameters)?.name);
});

test("level off compresses nothing and still reads", () => {
  const off = openZstd("off");
  expect(off.compress(text)).toBeUndefined();
  const frame = openZstd("max").compress(text)!.slice();
  expect(Buffer.compare(off.decompress(frame, text.length), text)).toBe(0);
});

test("no level makes windows that a reader need not allow", () => {
  for (const level of ["fastest", "auto", "better", "max", 1, 22] as const) {
    expect(zstdParameters(level)?.windowLog).toBe(20);
    expect(zstdDeltaParameters(level)?.windowLog).toBe(20);
  }
});

test("levels are restic's names or zstd's numbers", () => {
  expect(parseCompressionLevel("auto")).toBe("auto");
  expect(parseCompressionLevel("7")).toBe(7);
  for (const text of ["", "0", "23", "-1", "fast", "3.5"]) {
    expect(() => parseCompressionLevel(text)).toThrow(UsageError);
  }
});
