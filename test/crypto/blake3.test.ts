import { fc, test } from "@fast-check/vitest";
import { describe, expect, it } from "vitest";

import { toHex } from "../../src/bytes.ts";
import { loadNativeBlake3, portableBlake3 } from "../../src/crypto/blake3.ts";
import { createIdHasher } from "../../src/crypto/index.ts";
import { fixedRandom } from "../support/fixed-random.ts";

const native = loadNativeBlake3();
const key32 = fc.uint8Array({ minLength: 32, maxLength: 32 });
// Around BLAKE3's block (64) and chunk (1024) and the tree above it.
const lengths = fc.oneof(
  fc.integer({ min: 0, max: 200 }),
  fc.constantFrom(1023, 1024, 1025, 2047, 2048, 2049, 3072, 4096, 16384, 16385),
);

describe("native and portable BLAKE3", () => {
  test.prop([key32, lengths, fc.nat()], { numRuns: 60 })(
    "give the same keyed hash",
    (key, length, seed) => {
      const bytes = fixedRandom(String(seed)).bytes(length);
      expect(native).toBeDefined();
      expect(toHex(native?.keyed(key, bytes) ?? bytes)).toBe(
        toHex(portableBlake3.keyed(key, bytes)),
      );
    },
  );

  test.prop([fc.string({ unit: "grapheme" }), lengths], { numRuns: 60 })(
    "derive the same key",
    (context, length) => {
      const bytes = fixedRandom("material").bytes(length);
      expect(toHex(native?.deriveKey(context, bytes) ?? bytes)).toBe(
        toHex(portableBlake3.deriveKey(context, bytes)),
      );
    },
  );
});

describe("blob ids", () => {
  const random = fixedRandom("id keys");
  const keys = { dataIdKey: random.bytes(32), treeIdKey: random.bytes(32) };
  const hasher = createIdHasher(keys);

  it("differ by class for the same content", () => {
    const plain = new Uint8Array(100).fill(7);
    expect(hasher.id("data", plain)).not.toEqual(hasher.id("tree", plain));
    expect(hasher.id("data", plain)).toHaveLength(32);
    expect(toHex(hasher.id("tree", plain))).toBe(
      toHex(portableBlake3.keyed(keys.treeIdKey, plain)),
    );
  });

  it("are the same for a view into shared memory", () => {
    const shared = new Uint8Array(new SharedArrayBuffer(64), 3, 40);
    shared.fill(9);
    expect(hasher.id("data", shared)).toEqual(hasher.id("data", new Uint8Array(40).fill(9)));
  });
});
