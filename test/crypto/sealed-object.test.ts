import { fc, test } from "@fast-check/vitest";
import { beforeAll, describe, expect, it } from "vitest";

import { padme, toHex } from "../../src/bytes.ts";
import {
  loadSodium,
  objectIsKind,
  objectKind,
  openObject,
  sealObject,
  type BoxOpenKey,
  type ObjectKey,
  type ObjectKindName,
  type SaltKey,
} from "../../src/crypto/index.ts";
import { sodium } from "../../src/crypto/sodium.ts";
import { CorruptionError, UnsupportedFormatError } from "../../src/errors.ts";
import { fixedRandom } from "../support/fixed-random.ts";

const repoId = fixedRandom("repository").bytes(16);
const kinds = Object.keys(objectKind) as ObjectKindName[];
const saltKey: SaltKey = { algorithm: "salt", key: fixedRandom("index key").bytes(32) };
let boxKey: BoxOpenKey;

beforeAll(async () => {
  await loadSodium();
  boxKey = boxFrom("box");
});

function boxFrom(seed: string): BoxOpenKey {
  const pair = sodium().crypto_box_seed_keypair(fixedRandom(seed).bytes(32));
  return { algorithm: "box", publicKey: pair.publicKey, secretKey: pair.privateKey };
}

function seal(content: Uint8Array, key: ObjectKey, kind: ObjectKindName = "snapshot"): Uint8Array {
  return sealObject(kind, content, key, { repoId, generation: 3, random: fixedRandom("seal") });
}

function flipped(bytes: Uint8Array, bit: number): Uint8Array {
  const copy = Uint8Array.from(bytes);
  copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit & 7));
  return copy;
}

const algorithms = [["salt"], ["box"]] as const;
const keyOf = (algorithm: "salt" | "box"): ObjectKey => (algorithm === "salt" ? saltKey : boxKey);

describe.each(algorithms)("an object sealed by %s", (algorithm) => {
  test.prop([fc.uint8Array({ maxLength: 3000 }), fc.constantFrom(...kinds)], { numRuns: 40 })(
    "opens to its content, and has a Padmé length",
    (content, kind) => {
      const stored = seal(content, keyOf(algorithm), kind);
      expect(stored.length).toBe(padme(stored.length));
      expect(toHex(openObject(kind, stored, keyOf(algorithm), { repoId }))).toBe(toHex(content));
    },
  );

  it("does not open after any single bit was flipped", () => {
    const stored = seal(Uint8Array.of(1, 2, 3), keyOf(algorithm));
    for (let bit = 0; bit < stored.length * 8; bit++) {
      const damaged = flipped(stored, bit);
      const isVersionOrAlgorithm = [4, 5, 10, 11].includes(bit >> 3);
      const open = (): Uint8Array => openObject("snapshot", damaged, keyOf(algorithm), { repoId });
      if (isVersionOrAlgorithm) expect(open).toThrow(/Cannot open/);
      else expect(open, `bit ${bit}`).toThrow(CorruptionError);
    }
  });

  it("does not open when cut short or lengthened", () => {
    const stored = seal(Uint8Array.of(1, 2, 3), keyOf(algorithm));
    for (let length = 0; length < stored.length; length++)
      expect(() =>
        openObject("snapshot", stored.subarray(0, length), keyOf(algorithm), { repoId }),
      ).toThrow(CorruptionError);
    const longer = Uint8Array.from([...stored, 0]);
    expect(() => openObject("snapshot", longer, keyOf(algorithm), { repoId })).toThrow(
      CorruptionError,
    );
  });

  it("does not open as another kind, and its commitment says which it is", () => {
    const stored = seal(Uint8Array.of(1), keyOf(algorithm), "mark");
    for (const kind of kinds) {
      expect(objectIsKind(kind, stored.subarray(0, 160), keyOf(algorithm), { repoId })).toBe(
        kind === "mark",
      );
      if (kind !== "mark")
        expect(() => openObject(kind, stored, keyOf(algorithm), { repoId })).toThrow(
          CorruptionError,
        );
    }
  });

  it("does not open in another repository or under another key", () => {
    const stored = seal(Uint8Array.of(1), keyOf(algorithm));
    const elsewhere = fixedRandom("other repository").bytes(16);
    const other: ObjectKey =
      algorithm === "salt" ? { algorithm, key: fixedRandom("other").bytes(32) } : boxFrom("other");
    const swapped = algorithm === "salt" ? boxKey : saltKey;
    for (const [key, id] of [
      [keyOf(algorithm), elsewhere],
      [other, repoId],
      [swapped, repoId],
    ] as const) {
      expect(() => openObject("snapshot", stored, key, { repoId: id })).toThrow(CorruptionError);
      expect(objectIsKind("snapshot", stored, key, { repoId: id })).toBe(false);
    }
  });

  it("has the bytes it always had", () => {
    const stored = seal(Uint8Array.of(1, 2, 3), keyOf(algorithm));
    expect(toHex(stored)).toMatchSnapshot();
  });
});

describe("an envelope", () => {
  it("of a newer version is named as such", () => {
    const stored = seal(Uint8Array.of(1), saltKey);
    stored[4] = 7;
    const open = (): Uint8Array => openObject("snapshot", stored, saltKey, { repoId });
    expect(open).toThrow(UnsupportedFormatError);
    expect(open).toThrow("version 7");
  });

  it("of an unknown algorithm is named as such", () => {
    const stored = seal(Uint8Array.of(1), saltKey);
    stored[10] = 9;
    const open = (): Uint8Array => openObject("snapshot", stored, saltKey, { repoId });
    expect(open).toThrow(UnsupportedFormatError);
    expect(open).toThrow("algorithm 9");
  });

  test.prop([fc.uint8Array({ maxLength: 400 })], { numRuns: 200 })(
    "of random bytes is corruption",
    (bytes) => {
      expect(() => openObject("index", bytes, saltKey, { repoId })).toThrow(CorruptionError);
      expect(() => objectIsKind("index", bytes, saltKey, { repoId })).toThrow(CorruptionError);
    },
  );
});

describe("two objects of the same content", () => {
  it("share nothing after the clear part", () => {
    const random = fixedRandom("both");
    const context = { repoId, generation: 0, random };
    const a = sealObject("index", new Uint8Array(100), saltKey, context);
    const b = sealObject("index", new Uint8Array(100), saltKey, context);
    expect(a.subarray(0, 14)).toEqual(b.subarray(0, 14));
    let equal = 0;
    for (let at = 14; at < a.length; at++) if (a[at] === b[at]) equal += 1;
    expect(equal).toBeLessThan(10);
  });
});
