import { fc, test } from "@fast-check/vitest";
import { beforeAll, describe, expect, it } from "vitest";

import { toHex, utf8Bytes } from "../../src/bytes.ts";
import {
  generateFullKeys,
  loadSodium,
  newPackSeal,
  openPackHeader,
  PackOpener,
  PackSealer,
  type BlobClass,
  type BlobPosition,
  type FullKeys,
} from "../../src/crypto/index.ts";
import { BugError, CorruptionError } from "../../src/errors.ts";
import { fixedRandom } from "../support/fixed-random.ts";

const repoId = fixedRandom("repository").bytes(16);
const id = fixedRandom("id").bytes(32);
const plain = utf8Bytes("a blob's stored form");
const first: BlobPosition = { ordinal: 0, id, form: 1, plainLength: 900 };
const trailer = { footerOffset: 2 ** 33 + 5, footerLength: 77, blobCount: 3 };
let keys: FullKeys;

beforeAll(async () => {
  await loadSodium();
  keys = generateFullKeys(fixedRandom("keys"));
});

function sealFor(cls: BlobClass): ReturnType<typeof newPackSeal> {
  const publicKey = cls === "data" ? keys.dataBoxPublic : keys.treeBoxPublic;
  return newPackSeal(publicKey, 0, repoId, cls, fixedRandom("pack"));
}

function sealParts(cls: BlobClass = "data"): {
  blob: Uint8Array;
  footer: Uint8Array;
  trailer: Uint8Array;
  opener: PackOpener;
} {
  const seal = sealFor(cls);
  const sealer = new PackSealer(seal, repoId, cls);
  const blob = new Uint8Array(plain.length + 16);
  expect(sealer.sealBlob(first, plain, blob)).toBe(blob.length);
  const footer = sealer.sealFooter(utf8Bytes("footer"));
  const opener = new PackOpener(seal.secret, repoId, cls);
  return { blob, footer, trailer: sealer.sealTrailer(trailer), opener };
}

function everyDamage(bytes: Uint8Array): Uint8Array[] {
  const damaged: Uint8Array[] = [];
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const copy = Uint8Array.from(bytes);
    copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit & 7));
    damaged.push(copy);
  }
  for (let length = 0; length < bytes.length; length++) damaged.push(bytes.subarray(0, length));
  damaged.push(Uint8Array.from([...bytes, 0]));
  return damaged;
}

describe("a pack's header", () => {
  it.each(["data", "tree"] as const)(
    "of class %s tells the full key its class and secret",
    (cls) => {
      const { header, secret } = sealFor(cls);
      expect(header).toHaveLength(126);
      expect(openPackHeader(header, keys, repoId)).toEqual({ cls, secret });
    },
  );

  it("is corruption when damaged, of another repository, generation, or under other keys", () => {
    const { header } = sealFor("tree");
    for (const damaged of everyDamage(header).slice(0, -1)) {
      expect(() => openPackHeader(damaged, keys, repoId)).toThrow(/Cannot open/);
    }
    const other = generateFullKeys(fixedRandom("other"));
    expect(() => openPackHeader(header, other, repoId)).toThrow(CorruptionError);
    expect(() => openPackHeader(header, { ...keys, generation: 1 }, repoId)).toThrow(
      CorruptionError,
    );
    expect(() => openPackHeader(header, keys, id.subarray(0, 16))).toThrow(CorruptionError);
  });

  it("sealed to the key of the wrong class is corruption", () => {
    const crossed = newPackSeal(keys.treeBoxPublic, 0, repoId, "data", fixedRandom("crossed"));
    expect(() => openPackHeader(crossed.header, keys, repoId)).toThrow(CorruptionError);
  });
});

describe("a sealed blob", () => {
  test.prop([fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 8 })], { numRuns: 40 })(
    "opens to its bytes, wherever in the pack",
    (blobs) => {
      const seal = sealFor("data");
      const sealer = new PackSealer(seal, repoId, "data");
      const opener = new PackOpener(seal.secret, repoId, "data");
      blobs.forEach((bytes, ordinal) => {
        const into = new Uint8Array(bytes.length + 20);
        const length = sealer.sealBlob({ ...first, ordinal }, bytes, into);
        expect(length).toBe(bytes.length + 16);
        const opened = opener.openBlob({ ...first, ordinal }, into.subarray(0, length));
        expect(toHex(opened)).toBe(toHex(bytes));
      });
    },
  );

  it("opens from and into shared memory", () => {
    const seal = sealFor("data");
    const shared = new Uint8Array(new SharedArrayBuffer(100));
    const source = new Uint8Array(new SharedArrayBuffer(plain.length));
    source.set(plain);
    const length = new PackSealer(seal, repoId, "data").sealBlob(first, source, shared.subarray(5));
    const opener = new PackOpener(seal.secret, repoId, "data");
    expect(toHex(opener.openBlob(first, shared.subarray(5, 5 + length)))).toBe(toHex(plain));
  });

  it("is corruption when damaged in any bit or length", () => {
    const { blob, opener } = sealParts();
    for (const damaged of everyDamage(blob))
      expect(() => opener.openBlob(first, damaged)).toThrow(CorruptionError);
  });

  it("is corruption at another ordinal, under another id, form or length", () => {
    const { blob, opener } = sealParts();
    const otherId = fixedRandom("other id").bytes(32);
    for (const position of [
      { ...first, ordinal: 1 },
      { ...first, id: otherId },
      { ...first, form: 0 },
      { ...first, plainLength: 901 },
    ])
      expect(() => opener.openBlob(position, blob)).toThrow(CorruptionError);
  });

  it("is corruption in another class or repository, with the same secret", () => {
    const { secret } = sealFor("data");
    const { blob } = sealParts("data");
    const elsewhere = fixedRandom("elsewhere").bytes(16);
    expect(() => new PackOpener(secret, repoId, "tree").openBlob(first, blob)).toThrow(
      CorruptionError,
    );
    expect(() => new PackOpener(secret, elsewhere, "data").openBlob(first, blob)).toThrow(
      CorruptionError,
    );
  });

  it("never shares a nonce: an ordinal out of turn is our own mistake", () => {
    const sealer = new PackSealer(sealFor("data"), repoId, "data");
    const into = new Uint8Array(100);
    sealer.sealBlob(first, plain, into);
    expect(() => sealer.sealBlob(first, plain, into)).toThrow(BugError);
    expect(() => sealer.sealBlob({ ...first, ordinal: 2 }, plain, into)).toThrow(BugError);
  });
});

describe("footer and trailer", () => {
  it("open to what was sealed", () => {
    const parts = sealParts();
    expect(parts.trailer).toHaveLength(32);
    expect(parts.opener.openTrailer(parts.trailer)).toEqual(trailer);
    expect(toHex(parts.opener.openFooter(parts.footer))).toBe(toHex(utf8Bytes("footer")));
  });

  it("are corruption when damaged, or in each other's place", () => {
    const parts = sealParts();
    for (const damaged of everyDamage(parts.trailer))
      expect(() => parts.opener.openTrailer(damaged)).toThrow(CorruptionError);
    for (const damaged of everyDamage(parts.footer))
      expect(() => parts.opener.openFooter(damaged)).toThrow(CorruptionError);
    expect(() => parts.opener.openFooter(parts.trailer)).toThrow(CorruptionError);
    expect(() => parts.opener.openTrailer(parts.footer)).toThrow(CorruptionError);
  });
});

describe("a pack sealer", () => {
  it("pads with noise", () => {
    const padding = new Uint8Array(4096);
    new PackSealer(sealFor("data"), repoId, "data").fillPadding(padding);
    expect(new Set(padding).size).toBeGreaterThan(250);
  });

  it("seals nothing once it was wiped", () => {
    const sealer = new PackSealer(sealFor("data"), repoId, "data");
    sealer.wipe();
    expect(() => sealer.sealBlob(first, plain, new Uint8Array(100))).toThrow(BugError);
    expect(() => sealer.sealFooter(plain)).toThrow(BugError);
    expect(() => sealer.sealTrailer(trailer)).toThrow(BugError);
    expect(() => {
      sealer.fillPadding(new Uint8Array(4));
    }).toThrow(BugError);
  });

  it("writes the bytes it always wrote", () => {
    const seal = sealFor("tree");
    const parts = sealParts("tree");
    const padding = new Uint8Array(16);
    new PackSealer(seal, repoId, "tree").fillPadding(padding);
    expect({
      header: toHex(seal.header),
      blob: toHex(parts.blob),
      padding: toHex(padding),
      footer: toHex(parts.footer),
      trailer: toHex(parts.trailer),
    }).toMatchSnapshot();
  });
});
