/** The pure parts of `check`: which packs to read, writers' chains, deltas and their bases. */
import { describe, expect, test } from "vitest";
import { UsageError } from "../../src/errors.ts";
import type { BlobLocation } from "../../src/repo/blob-index/index.ts";
import { BlobAvailability } from "../../src/repo/ops/check/blob-availability.ts";
import { checkChains, highestSeen, type ChainInput } from "../../src/repo/ops/check/chains.ts";
import { parseReadSubset, planReading } from "../../src/repo/ops/check/read-plan.ts";
import type { StoredSnapshot } from "../../src/repo/ops/index.ts";

const writer = "aa".repeat(16);

describe("checkChains()", () => {
  const sound = [snapshot(1), snapshot(2), snapshot(3)];

  test("finds nothing wrong with an unbroken chain", () => {
    expect(chains({ snapshots: sound })).toEqual({ errors: [], warnings: [] });
  });

  test("names a snapshot that is gone, and not one that was forgotten", () => {
    const holed = [sound[0]!, sound[2]!];
    expect(chains({ snapshots: holed }).errors.map(({ object }) => object)).toEqual([nameOf(2)]);
    const forgotten = { name: nameOf(2), writer, sequence: 2 };
    const forgets = [{ time: "2026-11-23T00:00:00Z", snapshots: [forgotten] }];
    expect(chains({ snapshots: holed, forgets }).errors).toEqual([]);
    expect(chains({ snapshots: holed, unreadable: new Set([nameOf(2)]) }).errors).toEqual([]);
  });

  test("remembers the newest that was there, so that going back is found out", () => {
    const seenBefore = highestSeen(sound, new Map());
    const { errors } = chains({ snapshots: sound.slice(0, 2), seenBefore });
    expect(errors.map(({ object }) => object)).toEqual([nameOf(3)]);
  });

  test("a chain that begins anew is none that is broken", () => {
    const restarted = { ...snapshot(1), sequence: 1_800_000_000 };
    expect(chains({ snapshots: [restarted] }).errors).toEqual([]);
  });

  test("warns of two snapshots with one number, and of a removed key's later ones", () => {
    const fork = { ...snapshot(2), id: "ff".repeat(32) };
    const forked = chains({ snapshots: [...sound, fork] });
    expect(forked.errors).toEqual([]);
    expect(forked.warnings.map(({ message }) => message)[0]).toContain("all number 2");
    const elsewhere = { ...fork, hostname: "other" };
    expect(chains({ snapshots: [...sound, elsewhere] }).warnings).toEqual([]);
    const late = chains({ snapshots: sound, removedAfter: () => 2 });
    expect(late.warnings.map(({ object }) => object)).toEqual([nameOf(3)]);
  });
});

describe("planReading()", () => {
  const packs = Array.from({ length: 200 }, (_, at) => ({ name: nameOf(at), size: 100 + at }));
  const never = new Map<string, number>();

  test("parts are apart and together everything", () => {
    const parts = [1, 2, 3, 4, 5, 6, 7].flatMap((part) =>
      planReading(packs, { kind: "part", part, of: 7 }, never, () => 0),
    );
    expect(parts.map(({ name }) => name).sort()).toEqual(packs.map(({ name }) => name).sort());
  });

  test("a share takes what was never verified first, then the longest unverified", () => {
    const verified = new Map(packs.slice(1).map(({ name }, at) => [name, 1000 - at]));
    const [first, second] = planReading(packs, { kind: "share", share: 0.01 }, verified, () => 0);
    expect([first, second]).toEqual([packs[0], packs[199]]);
  });

  test("a share reads about its part of the bytes, and 100 % all", () => {
    const total = packs.reduce((sum, { size }) => sum + size, 0);
    const tenth = planReading(packs, { kind: "share", share: 0.1 }, never, () => 0);
    const bytes = tenth.reduce((sum, { size }) => sum + size, 0);
    expect(bytes).toBeGreaterThanOrEqual(total / 10);
    expect(bytes).toBeLessThan(total / 10 + 300);
    expect(planReading(packs, { kind: "share", share: 1 }, never, () => 0).length).toBe(200);
  });

  test.each(["", "0%", "101%", "0/3", "4/3", "1/0", "x", "-5%"])("%j is no subset", (text) => {
    expect(() => parseReadSubset(text)).toThrow(UsageError);
  });
});

describe("BlobAvailability", () => {
  const x = id(1);
  const b = id(2);

  test("two deltas against each other are both lost, once their plain forms are gone (R1)", () => {
    const cycle = [location(x, 0, 1, [b]), location(b, 1, 1, [x])];
    const lost = new BlobAvailability(indexOf(cycle));
    expect([lost.isReadable("data", x), lost.isReadable("data", b)]).toEqual([false, false]);
    const whole = new BlobAvailability(indexOf([...cycle, location(b, 2, 0, [])]));
    expect([whole.isReadable("data", x), whole.isReadable("data", b)]).toEqual([true, true]);
  });

  test("a delta is lost with its base's last good place, and read from another", () => {
    const places = [location(x, 0, 1, [b]), location(b, 1, 0, []), location(b, 2, 0, [])];
    const availability = new BlobAvailability(indexOf(places));
    availability.markDamagedPack("pack 1");
    expect(availability.isReadable("data", x)).toBe(true);
    availability.markDamaged("data", b, "pack 2", 126);
    expect(availability.isReadable("data", x)).toBe(false);
  });
});

function chains(input: Partial<ChainInput>) {
  return checkChains({
    snapshots: [],
    unreadable: new Set(),
    forgets: [],
    seenBefore: new Map(),
    removedAfter: () => undefined,
    ...input,
  });
}

function nameOf(sequence: number): string {
  return ((sequence * 2654435761) >>> 0).toString(16).padStart(8, "0").repeat(8);
}

function snapshot(sequence: number): StoredSnapshot {
  return {
    id: nameOf(sequence),
    timeMs: sequence,
    time: "2026-11-23T00:00:00Z",
    hostname: "lab",
    username: "tester",
    uid: 0,
    gid: 0,
    paths: [],
    tags: [],
    excludes: [],
    tree: nameOf(0),
    writer,
    sequence,
    ...(sequence === 1 ? {} : { previous: nameOf(sequence - 1) }),
    session: writer,
    tool: "test",
    warnings: { count: 0, first: [] },
    summary: {},
  };
}

function id(byte: number): Uint8Array {
  return new Uint8Array(32).fill(byte);
}

function location(
  of: Uint8Array,
  pack: number,
  depth: number,
  bases: readonly Uint8Array[],
): BlobLocation {
  const basePrefixes = bases.map((base) => base.subarray(0, 8));
  const form = depth === 0 ? 1 : 2;
  return {
    ...{ id: of, pack, ordinal: 0, offset: 126, sealedLength: 50, plainLength: 90 },
    ...{ form, depth, basePrefixes },
  };
}

function indexOf(
  places: readonly BlobLocation[],
): ConstructorParameters<typeof BlobAvailability>[0] {
  const startsWith = (place: BlobLocation, prefix: Uint8Array): boolean =>
    Buffer.compare(place.id.subarray(0, prefix.length), prefix) === 0;
  return {
    packCount: 3,
    blobCount: () => 1,
    packInfo: (pack) => ({ name: `pack ${pack}`, size: 1000, cls: "data", blobCount: 1 }),
    packNumbers: (name) => [Number(name.slice(5))],
    lookupAll: (_cls, ids) => places.filter((place) => startsWith(place, ids)),
    lookupPrefix: (_cls, prefix) => places.filter((place) => startsWith(place, prefix)),
  };
}
