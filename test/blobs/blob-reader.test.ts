import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { toHex } from "../../src/bytes.ts";
import { createIdHasher, newPackSeal, systemRandom } from "../../src/crypto/index.ts";
import { CorruptionError, FailedError } from "../../src/errors.ts";
import { blobForm, type IndexedPack } from "../../src/repo/format/index.ts";
import type { BlobWrite, DamagedBlob } from "../../src/repo/blobs/index.ts";
import { FormChooser, type ChosenForm, type KnownBase } from "../../src/repo/blobs/choose-form.ts";
import { PackBuilder } from "../../src/repo/blobs/pack-builder.ts";
import { openZstd } from "../../src/repo/blobs/zstd.ts";
import { fixedRandom } from "../support/fixed-random.ts";
import { TestRepository, testSettings, type MemoryStorage } from "./support.ts";

let folder: string;
beforeAll(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), "ashlar-reader-"));
});
afterAll(() => {
  fs.rmSync(folder, { recursive: true });
});

const chooser = new FormChooser(openZstd("auto"), true);

interface HandMade {
  readonly plain: Uint8Array;
  readonly bases?: readonly KnownBase[];
  /** What the entry claims, where it lies. */
  readonly depth?: number;
}

/** A repository into which packs are put by hand, blob by blob. */
class Workshop {
  readonly repo: TestRepository;
  readonly storage: MemoryStorage;
  private constructor(repo: TestRepository) {
    this.repo = repo;
    this.storage = repo.storage;
  }

  static async create(): Promise<Workshop> {
    return new Workshop(await TestRepository.create());
  }

  id(plain: Uint8Array): Uint8Array {
    return createIdHasher(this.repo.keys).id("data", plain);
  }

  base(plain: Uint8Array, depth = 0, slice?: KnownBase["slice"]): KnownBase {
    const base = { id: this.id(plain), plain, depth };
    return slice === undefined ? base : { ...base, slice };
  }

  async pack(blobs: readonly HandMade[]): Promise<IndexedPack> {
    const { keys, repoId } = this.repo;
    const seal = newPackSeal(keys.dataBoxPublic, 0, repoId, "data", systemRandom);
    const builder = new PackBuilder(seal, repoId, "data", new Uint8Array(4 * 1024 * 1024));
    for (const { plain, bases = [], depth } of blobs) {
      const chosen: ChosenForm = chooser.chooseForm(plain, bases);
      if (bases.length > 0) expect(chosen.form).toBe(blobForm.delta);
      builder.add({
        ...chosen,
        depth: depth ?? chosen.depth,
        id: this.id(plain),
        plainLength: plain.length,
      });
    }
    const { pack, bytes } = builder.build();
    await this.storage.put("data", toHex(pack.name), [bytes]);
    this.repo.index.addPack(pack);
    return pack;
  }

  /** Flips a bit in the pack's blob of that ordinal. */
  damage(pack: IndexedPack, ordinal = 0): void {
    const offset = pack.sealedLengths.subarray(0, ordinal).reduce((a, b) => a + b, 126);
    this.storage.bytes("data", toHex(pack.name))[offset + 3]! ^= 4;
  }
}

function noise(seed: string, length = 65_536): Uint8Array {
  return fixedRandom(seed).bytes(length);
}

function edited(plain: Uint8Array, at: number): Uint8Array {
  const copy = plain.slice();
  copy.fill(0x5a, at, at + 100);
  return copy;
}

async function restore(
  workshop: Workshop,
  writes: readonly BlobWrite[],
  fd: number,
): Promise<{ damaged: DamagedBlob[]; progress: number; file: Uint8Array }> {
  const reader = await workshop.repo.reader();
  const damaged: DamagedBlob[] = [];
  let progress = 0;
  await reader.restoreInto(writes, {
    onDamaged: (blob) => damaged.push(blob),
    onProgress: (bytes) => (progress += bytes),
  });
  await reader.close();
  const file = new Uint8Array(fs.fstatSync(fd).size);
  fs.readSync(fd, file, 0, file.length, 0);
  return { damaged, progress, file };
}

function openTarget(name: string): number {
  return fs.openSync(path.join(folder, name), "w+");
}

test("what was stored is read again, whatever it is", async () => {
  const repo = await TestRepository.create();
  const kinds = fc.record({
    length: fc.oneof(
      fc.constantFrom(0, 1, 4095, 4096, 262_144),
      fc.integer({ min: 0, max: 50_000 }),
    ),
    kind: fc.constantFrom("noise", "zero", "text"),
    seed: fc.integer(),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(kinds, { minLength: 1, maxLength: 8 }), async (blobs) => {
      const plains = blobs.map(({ length, kind, seed }) => {
        if (kind === "zero") return new Uint8Array(length);
        if (kind === "noise") return noise(`${seed}`, length);
        return new Uint8Array(Buffer.from(`${seed} `.repeat(length)).subarray(0, length));
      });
      const writer = await repo.writer();
      const ids = await Promise.all(plains.map((plain) => writer.storeTree(plain)));
      const files = await Promise.all(
        plains.map((plain) =>
          writer.storeStream(
            (async function* () {
              await Promise.resolve();
              yield plain;
            })(),
          ),
        ),
      );
      await writer.flush();
      await writer.close();
      const reader = await repo.reader();
      for (const [at, plain] of plains.entries()) {
        expect(Buffer.compare(await reader.readTree(ids[at]!), plain)).toBe(0);
        const parts: Uint8Array[] = [];
        const { lengths, ids: chunkIds } = files[at]!;
        for (let chunk = 0; chunk < lengths.length; chunk++) {
          parts.push(await reader.readBlob("data", chunkIds.subarray(32 * chunk, 32 * chunk + 32)));
        }
        expect(Buffer.compare(Buffer.concat(parts), plain)).toBe(0);
      }
      await reader.close();
    }),
    { numRuns: 12 },
  );
});

test("the largest blob is stored and read", async () => {
  const repo = await TestRepository.create();
  const writer = await repo.writer();
  const plain = systemRandom.bytes(8 * 1024 * 1024);
  const id = await writer.storeTree(plain);
  await writer.flush();
  await writer.close();
  const reader = await repo.reader();
  expect(Buffer.compare(await reader.readTree(id), plain)).toBe(0);
  await reader.close();
});

test("a blob is fetched once for all who ask at a time, and kept for who asks next", async () => {
  const workshop = await Workshop.create();
  const plain = noise("one");
  await workshop.pack([{ plain }]);
  const reader = await workshop.repo.reader();
  workshop.storage.gets = 0;
  const id = workshop.id(plain);
  await Promise.all([reader.readBlob("data", id), reader.readBlob("data", id)]);
  await reader.readBlob("data", id);
  // The header, and the blob.
  expect(workshop.storage.gets).toBe(2);
});

describe("damage", () => {
  const plain = noise("damaged");

  test("of one place is made up for by another", async () => {
    const workshop = await Workshop.create();
    const first = await workshop.pack([{ plain }]);
    const second = await workshop.pack([{ plain }]);
    const reader = await workshop.repo.reader({ cacheBytes: 0 });
    workshop.damage(first);
    expect(Buffer.compare(await reader.readBlob("data", workshop.id(plain)), plain)).toBe(0);
    workshop.damage(second);
    const failure = reader.readBlob("data", workshop.id(plain));
    await expect(failure).rejects.toThrow(CorruptionError);
    await expect(failure).rejects.toThrow(toHex(workshop.id(plain)));
    await expect(failure).rejects.toThrow(/[0-9a-f]{64} at offset 126/);
  });

  test("of a header is damage of that place only", async () => {
    const workshop = await Workshop.create();
    await workshop.pack([{ plain }]);
    await workshop.pack([{ plain }]);
    for (const name of workshop.storage.names("data").slice(0, 1)) {
      workshop.storage.bytes("data", name)[50]! ^= 1;
    }
    const reader = await workshop.repo.reader();
    expect(Buffer.compare(await reader.readBlob("data", workshop.id(plain)), plain)).toBe(0);
  });

  test("that leaves a valid seal is found by the id", async () => {
    const workshop = await Workshop.create();
    const { keys, repoId } = workshop.repo;
    const seal = newPackSeal(keys.dataBoxPublic, 0, repoId, "data", systemRandom);
    const builder = new PackBuilder(seal, repoId, "data", new Uint8Array(1024 * 1024));
    const chosen = chooser.chooseForm(plain);
    const id = workshop.id(edited(plain, 0));
    builder.add({ ...chosen, id, plainLength: plain.length });
    const { pack, bytes } = builder.build();
    await workshop.storage.put("data", toHex(pack.name), [bytes]);
    workshop.repo.index.addPack(pack);
    const reader = await workshop.repo.reader();
    await expect(reader.readBlob("data", id)).rejects.toThrow("another id");
  });

  test("a missing pack makes the reader look at the index once more", async () => {
    const workshop = await Workshop.create();
    const pack = await workshop.pack([{ plain }]);
    const { index } = workshop.repo;
    const moved: Uint8Array[] = [workshop.storage.bytes("data", toHex(pack.name))];
    workshop.storage.objects.delete(`data/${toHex(pack.name)}`);
    let refreshes = 0;
    const reader = await workshop.repo.reader({
      index: {
        lookup: index.lookup.bind(index),
        lookupReadable: index.lookupReadable.bind(index),
        lookupPrefix: index.lookupPrefix.bind(index),
        packInfo: index.packInfo.bind(index),
        // A prune has moved the blob to another pack meanwhile.
        refresh: async () => {
          refreshes++;
          if (moved.pop() !== undefined) await workshop.pack([{ plain }]);
        },
      },
    });
    expect(Buffer.compare(await reader.readBlob("data", workshop.id(plain)), plain)).toBe(0);
    expect(refreshes).toBe(1);
    await expect(reader.readBlob("data", workshop.id(noise("unknown")))).rejects.toThrow(
      CorruptionError,
    );
    await expect(reader.readBlob("data", workshop.id(noise("too")))).rejects.toThrow(
      CorruptionError,
    );
    expect(refreshes).toBe(2);
  });

  test("whoever misses the same pack meanwhile waits for that look", async () => {
    const workshop = await Workshop.create();
    const blobs = ["one", "two", "three"].map((name) => ({ plain: noise(name, 20_000) }));
    const pack = await workshop.pack(blobs);
    const { index } = workshop.repo;
    workshop.storage.objects.delete(`data/${toHex(pack.name)}`);
    let refreshes = 0;
    const reader = await workshop.repo.reader({
      index: {
        lookup: index.lookup.bind(index),
        lookupReadable: index.lookupReadable.bind(index),
        lookupPrefix: index.lookupPrefix.bind(index),
        packInfo: index.packInfo.bind(index),
        refresh: async () => {
          refreshes++;
          await new Promise((resolve) => setTimeout(resolve, 20));
          await workshop.pack(blobs);
        },
      },
    });
    const read = await Promise.all(
      blobs.map((blob) => reader.readBlob("data", workshop.id(blob.plain))),
    );
    read.forEach((bytes, at) => {
      expect(Buffer.compare(bytes, blobs[at]!.plain)).toBe(0);
    });
    expect(refreshes).toBe(1);
  });
});

describe("deltas", () => {
  test.each([1, 2, 3, 4])("with %i bases, slices and whole ones, in other packs", async (count) => {
    const workshop = await Workshop.create();
    // The third slice is a base's last block, which is not whole.
    const slices = [
      { offsetBlocks: 4, lengthBlocks: 8 },
      undefined,
      { offsetBlocks: 15, lengthBlocks: 1 },
      { offsetBlocks: 0, lengthBlocks: 3 },
    ].slice(0, count);
    const bases = slices.map((slice, at) => {
      const plain = noise(`base ${at}`, 65_000);
      return workshop.base(plain, 0, slice);
    });
    const repeated = bases.map(({ plain, slice }) => {
      const from = (slice?.offsetBlocks ?? 0) * 4096;
      return plain.subarray(from, from + (slice?.lengthBlocks ?? 10) * 4096);
    });
    const plain = edited(Buffer.concat(repeated), 777);
    await workshop.pack(bases.slice(0, 2).map((base) => ({ plain: base.plain })));
    await workshop.pack([
      ...bases.slice(2, 3).map((base) => ({ plain: base.plain })),
      { plain, bases },
    ]);
    await workshop.pack([
      { plain: noise("other") },
      ...bases.slice(3).map((base) => ({ plain: base.plain })),
    ]);
    const location = workshop.repo.index.lookup("data", workshop.id(plain));
    expect(location).toMatchObject({ form: blobForm.delta, depth: 1 });
    expect(location?.basePrefixes.length).toBe(count);
    expect(location?.sealedLength).toBeLessThan(1000);
    const reader = await workshop.repo.reader();
    expect(Buffer.compare(await reader.readBlob("data", workshop.id(plain)), plain)).toBe(0);
    const fd = openTarget(`delta-${count}`);
    const write = {
      id: workshop.id(plain),
      plainLength: plain.length,
      targets: [{ fd, offset: 5 }],
    };
    const { damaged, file } = await restore(workshop, [write], fd);
    expect(damaged).toEqual([]);
    expect(Buffer.compare(file.subarray(5), plain)).toBe(0);
    fs.closeSync(fd);
  });

  test("on deltas are followed to the plain bytes", async () => {
    const workshop = await Workshop.create();
    const zero = noise("chain");
    const one = edited(zero, 1000);
    const two = edited(one, 30_000);
    await workshop.pack([{ plain: two, bases: [workshop.base(one, 1)] }, { plain: zero }]);
    await workshop.pack([{ plain: one, bases: [workshop.base(zero)] }]);
    const fd = openTarget("chain");
    const writes = [two, one, zero, two].map((plain, at) => ({
      id: workshop.id(plain),
      plainLength: plain.length,
      targets: [{ fd, offset: at * 65_536 }],
    }));
    const { damaged, file, progress } = await restore(workshop, writes, fd);
    expect(damaged).toEqual([]);
    expect(Buffer.compare(file, Buffer.concat([two, one, zero, two]))).toBe(0);
    expect(progress).toBe(file.length);
    const reader = await workshop.repo.reader();
    expect(Buffer.compare(await reader.readBlob("data", workshop.id(two)), two)).toBe(0);
    fs.closeSync(fd);
  });

  test.each([
    ["of one depth", 1, 1],
    ["of claimed depths", 2, 1],
    ["of the greatest depth", 8, 8],
  ])("against each other are refused, %s", async (_, depthOfX, depthOfB) => {
    const workshop = await Workshop.create();
    const x = noise("x");
    const b = edited(x, 50);
    await workshop.pack([{ plain: x, bases: [workshop.base(b)], depth: depthOfX }]);
    await workshop.pack([{ plain: b, bases: [workshop.base(x)], depth: depthOfB }]);
    const reader = await workshop.repo.reader();
    await expect(reader.readBlob("data", workshop.id(x))).rejects.toThrow(CorruptionError);
    const both = [x, b].map((plain) => reader.readBlob("data", workshop.id(plain)));
    for (const result of await Promise.allSettled(both)) expect(result.status).toBe("rejected");
    // One plain form anywhere makes both readable.
    await workshop.pack([{ plain: b }]);
    expect(Buffer.compare(await reader.readBlob("data", workshop.id(x)), x)).toBe(0);
  });

  test("whose base is damaged are read from a plain form", async () => {
    const workshop = await Workshop.create();
    const base = noise("base");
    const plain = edited(base, 9);
    const damagedPack = await workshop.pack([{ plain: base }]);
    await workshop.pack([{ plain, bases: [workshop.base(base)] }]);
    workshop.damage(damagedPack);
    const fd = openTarget("base");
    const write = {
      id: workshop.id(plain),
      plainLength: plain.length,
      targets: [{ fd, offset: 0 }],
    };
    const failed = await restore(workshop, [write], fd);
    expect(failed.damaged.map(({ id }) => toHex(id))).toEqual([toHex(workshop.id(plain))]);
    await workshop.pack([{ plain: base }]);
    const { damaged, file } = await restore(workshop, [write], fd);
    expect(damaged).toEqual([]);
    expect(Buffer.compare(file, plain)).toBe(0);
    fs.closeSync(fd);
  });

  test("are chosen only where they pay", () => {
    const base = { id: new Uint8Array(32), plain: noise("b"), depth: 0 };
    expect(chooser.chooseForm(edited(base.plain, 5), [base])).toMatchObject({ form: 2, depth: 1 });
    expect(chooser.chooseForm(noise("unlike"), [base])).toMatchObject({ form: 0, depth: 0 });
    const text = new TextEncoder().encode(toHex(noise("text", 32_768)));
    expect(chooser.chooseForm(text, [base])).toMatchObject({ form: 1, depth: 0 });
  });
});

describe("restoreInto()", () => {
  test("writes an image of many packs, in any order, with chunks that repeat", async () => {
    const workshop = await Workshop.create();
    const { repo } = workshop;
    const file = path.join(folder, "source");
    const part = Buffer.concat([noise("part", 700_000), Buffer.alloc(300_000, "compressible ")]);
    const source = Buffer.concat([part, noise("more", 3_000_000), part, Buffer.alloc(4096), part]);
    fs.writeFileSync(file, source);
    const writer = await repo.writer();
    const input = fs.openSync(file, "r");
    const stored = await writer.storeStream({ fd: input });
    await writer.flush();
    await writer.close();
    fs.closeSync(input);
    const fd = openTarget("restored");
    let offset = 0;
    const writes = [...stored.lengths].map((plainLength, at) => {
      const targets = [{ fd, offset }];
      offset += plainLength;
      return { id: stored.ids.subarray(32 * at, 32 * at + 32), plainLength, targets };
    });
    const { damaged, file: restored, progress } = await restore(workshop, writes.reverse(), fd);
    expect(damaged).toEqual([]);
    expect(progress).toBe(source.length);
    expect(Buffer.compare(restored, source)).toBe(0);

    const reader = await repo.reader();
    const ranges = writes.map(({ id, plainLength: length, targets }) => ({
      id,
      length,
      offset: targets[0]!.offset,
    }));
    fs.writeSync(fd, "!", ranges[2]!.offset + 5);
    const equal = await reader.verifyRanges(fd, ranges);
    expect([...equal].flatMap((bit, at) => (bit === 1 ? [] : [at]))).toEqual([2]);
    fs.ftruncateSync(fd, ranges[0]!.offset + ranges[0]!.length - 1);
    expect([...(await reader.verifyRanges(fd, ranges.slice(0, 2)))]).toEqual([0, 1]);
    fs.closeSync(fd);
  });

  test("reports what is lost, once each, and writes all else", async () => {
    const workshop = await Workshop.create();
    const plains = Array.from({ length: 40 }, (_, at) => noise(`${at}`, 20_000));
    const pack = await workshop.pack(plains.map((plain) => ({ plain })));
    workshop.damage(pack, 7);
    workshop.damage(pack, 30);
    const fd = openTarget("lossy");
    fs.writeSync(fd, Buffer.alloc(800_000, 1));
    const writes = plains.map((plain, at) => ({
      id: workshop.id(plain),
      plainLength: plain.length,
      targets: [{ fd, offset: at * 20_000 }],
    }));
    const { damaged, file, progress } = await restore(workshop, writes, fd);
    expect(damaged.map(({ targets }) => targets[0]!.offset / 20_000).sort((a, b) => a - b)).toEqual(
      [7, 30],
    );
    expect(damaged[0]!.error.message).toContain(toHex(pack.name));
    expect(progress).toBe(800_000);
    for (const [at, plain] of plains.entries()) {
      const range = file.subarray(at * 20_000, (at + 1) * 20_000);
      if (at === 7 || at === 30) expect(range.every((byte) => byte === 1)).toBe(true);
      else expect(Buffer.compare(range, plain)).toBe(0);
    }
    const reader = await workshop.repo.reader();
    await expect(reader.restoreInto(writes)).rejects.toThrow(CorruptionError);
    workshop.storage.objects.clear();
    const gone = await restore(workshop, writes, fd);
    expect(gone.damaged.length).toBe(40);
    fs.closeSync(fd);
  });

  test("a length that the tree contradicts is damage", async () => {
    const workshop = await Workshop.create();
    const plain = noise("length");
    await workshop.pack([{ plain }]);
    const fd = openTarget("length");
    const write = { id: workshop.id(plain), plainLength: 5, targets: [{ fd, offset: 0 }] };
    expect((await restore(workshop, [write], fd)).damaged.length).toBe(1);
    expect(fs.fstatSync(fd).size).toBe(0);
    fs.closeSync(fd);
  });

  test("a target that cannot be written fails the restore", async () => {
    const workshop = await Workshop.create();
    const plain = noise("target");
    await workshop.pack([{ plain }]);
    const file = path.join(folder, "read-only");
    fs.writeFileSync(file, "");
    const fd = fs.openSync(file, "r");
    const reader = await workshop.repo.reader();
    const write = {
      id: workshop.id(plain),
      plainLength: plain.length,
      targets: [{ fd, offset: 0 }],
    };
    await expect(reader.restoreInto([write])).rejects.toThrow(FailedError);
    fs.closeSync(fd);
  });

  test("reads neighbours in one go, and a pack's header with its first blob", async () => {
    const workshop = await Workshop.create();
    const plains = Array.from({ length: 50 }, (_, at) => noise(`near ${at}`, 10_000));
    await workshop.pack(plains.map((plain) => ({ plain })));
    const fd = openTarget("near");
    const writes = plains
      .filter((_, at) => at % 3 !== 1)
      .map((plain, at) => ({
        id: workshop.id(plain),
        plainLength: plain.length,
        targets: [{ fd, offset: at * 10_000 }],
      }));
    workshop.storage.gets = 0;
    expect((await restore(workshop, writes, fd)).damaged).toEqual([]);
    expect(workshop.storage.gets).toBe(1);
    fs.closeSync(fd);
  });
});

test("a writer and a reader of one index do not need the settings' pack size to fit a chunk", async () => {
  const repo = await TestRepository.create();
  repo.settings = { ...testSettings, pack: { targetBytes: 65_536 } };
  const writer = await repo.writer();
  const plain = systemRandom.bytes(1_000_000);
  const stored = await writer.storeStream(
    (async function* () {
      await Promise.resolve();
      yield plain;
    })(),
  );
  await writer.flush();
  await writer.close();
  const reader = await repo.reader();
  const first = await reader.readBlob("data", stored.ids.subarray(0, 32));
  expect(Buffer.compare(first, plain.subarray(0, first.length))).toBe(0);
});
