import { createHash } from "node:crypto";
import fc from "fast-check";
import { expect, test } from "vitest";
import { padme, toHex } from "../../src/bytes.ts";
import {
  generateFullKeys,
  loadSodium,
  newPackSeal,
  openPackHeader,
  PackOpener,
  systemRandom,
} from "../../src/crypto/index.ts";
import { decodePackFooter, packHeaderBytes } from "../../src/repo/format/index.ts";
import { PackBuilder, packCapacity, type BuiltPack } from "../../src/repo/blobs/pack-builder.ts";

await loadSodium();
const keys = generateFullKeys(systemRandom);
const repoId = new Uint8Array(16).fill(7);
const mib = 1024 * 1024;

function fill(capacity: number, lengths: Iterable<number>): BuiltPack[] {
  const packs: BuiltPack[] = [];
  const open = (): PackBuilder =>
    new PackBuilder(
      newPackSeal(keys.dataBoxPublic, 0, repoId, "data", systemRandom),
      repoId,
      "data",
      new Uint8Array(capacity),
    );
  let builder = open();
  const close = (): void => {
    packs.push(builder.build());
    builder = open();
  };
  for (const length of lengths) {
    if (!builder.fits(length, 0)) close();
    const id = systemRandom.bytes(32);
    const bytes = new Uint8Array(length).fill(length);
    builder.add({ id, form: 0, depth: 0, plainLength: length, bytes, bases: [] });
    if (builder.closesWell) close();
  }
  if (builder.blobCount > 0) packs.push(builder.build());
  return packs;
}

test("a pack opens again by its header, trailer and footer, and has its bytes' name", () => {
  for (const { pack, bytes } of fill(mib, [0, 1, 5000, 300_000, 400_000, 17])) {
    expect(toHex(pack.name)).toBe(createHash("sha256").update(bytes).digest("hex"));
    const { cls, secret } = openPackHeader(bytes.subarray(0, packHeaderBytes), keys, repoId);
    const opener = new PackOpener(secret, repoId, cls);
    const trailer = opener.openTrailer(bytes.subarray(-32));
    const end = trailer.footerOffset + trailer.footerLength;
    expect(end).toBe(bytes.length - 32);
    const footer = decodePackFooter(opener.openFooter(bytes.subarray(trailer.footerOffset, end)));
    expect(footer.entries.length).toBe(trailer.blobCount);
    let at = packHeaderBytes;
    for (const [ordinal, entry] of footer.entries.entries()) {
      const sealed = bytes.subarray(at, at + entry.sealedLength);
      const blob = { ordinal, id: entry.id, form: entry.form, plainLength: entry.plainLength };
      expect(opener.openBlob(blob, sealed).length).toBe(entry.plainLength);
      expect(Buffer.compare(pack.ids.subarray(32 * ordinal, 32 * ordinal + 32), entry.id)).toBe(0);
      at += entry.sealedLength;
    }
  }
});

test("every pack has a Padmé length and never more than its capacity", () => {
  fc.assert(
    fc.property(
      fc.constantFrom(256 * 1024, mib, 1_500_000).map(packCapacity),
      fc.array(fc.integer({ min: 0, max: 100_000 }), { minLength: 1, maxLength: 60 }),
      (capacity, lengths) => {
        const packs = fill(capacity, lengths);
        for (const { bytes } of packs) {
          expect(bytes.length).toBe(padme(bytes.length));
          expect(bytes.length).toBeLessThanOrEqual(capacity);
        }
        expect(packs.flatMap(({ pack }) => [...pack.plainLengths])).toEqual(lengths);
      },
    ),
    { numRuns: 20 },
  );
});

test("packs full of chunks lose next to nothing to padding", () => {
  // Exponential lengths as the aligned cutter makes them, compressed to about a half.
  const draws = new DataView(systemRandom.bytes(4 * 3000).buffer);
  const lengths = Array.from({ length: 3000 }, (_, at) => {
    const uniform = (draws.getUint32(4 * at) + 1) / 2 ** 32;
    return Math.round(Math.min(128 * 1024, 8 * 1024 - 24 * 1024 * Math.log(uniform)));
  });
  const full = fill(16 * mib, lengths).slice(0, -1);
  const stored = full.reduce((sum, { bytes }) => sum + bytes.length, 0);
  const needed = full.reduce((sum, { pack }) => {
    const sealed = pack.sealedLengths.reduce((a, b) => a + b, 0);
    return sum + sealed + packHeaderBytes + 5 + 43 * pack.count + 16 + 32;
  }, 0);
  expect(full.length).toBeGreaterThan(4);
  expect((stored - needed) / stored).toBeLessThan(0.002);
});

test("the capacity is the largest length up to the target that needs no padding", () => {
  expect(packCapacity(16 * mib)).toBe(16 * mib);
  expect(packCapacity(16 * mib + 5)).toBe(16 * mib);
  expect(padme(packCapacity(20_000_001))).toBe(packCapacity(20_000_001));
});
