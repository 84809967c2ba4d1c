import fc from "fast-check";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { toHex } from "../../src/bytes.ts";
import type { BlobIndex } from "../../src/repo/blob-index/index.ts";
import type { IndexedPack } from "../../src/repo/format/index.ts";
import {
  makeCacheDir,
  makePack,
  makeRepository,
  openIndex,
  putIndexObject,
  putProtocolObject,
  randomId,
  randomIds,
  type TestRepository,
} from "./support.ts";

function cacheFiles(repository: TestRepository, cacheDir: string): string[] {
  const folder = join(cacheDir, toHex(repository.repoId), "index");
  return readdirSync(folder).map((name) => join(folder, name));
}

/** Some objects of a few hundred blobs each, some of them deltas. */
async function fill(
  repository: TestRepository,
  objectCount: number,
  blobs = 300,
): Promise<IndexedPack[]> {
  const packs: IndexedPack[] = [];
  for (let n = 0; n < objectCount; n++) {
    const bases = new Map([[7, [randomId().subarray(0, 8)]]]);
    const members = [
      makePack({ ids: randomIds(blobs), bases }),
      makePack({ ids: randomIds(20), cls: "tree" }),
    ];
    await putIndexObject(repository, members);
    packs.push(...members);
  }
  return packs;
}

/** Every blob is found where it is, or not at all; returns how many are missing. */
function missing(index: BlobIndex, packs: readonly IndexedPack[]): number {
  let count = 0;
  for (const pack of packs) {
    let offset = 126;
    const wrong: unknown[] = [];
    for (let ordinal = 0; ordinal < pack.count; ordinal++) {
      const at = index.lookup(pack.cls, pack.ids, ordinal * 32);
      const bases = pack.bases
        .filter((base) => base.ordinal === ordinal)
        .map(({ prefix }) => toHex(prefix));
      const expected = [
        ordinal,
        offset,
        pack.sealedLengths[ordinal],
        pack.plainLengths[ordinal],
        pack.forms[ordinal],
        ...bases,
      ];
      offset += pack.sealedLengths[ordinal]!;
      if (at === undefined) {
        count++;
        continue;
      }
      const found = [
        at.ordinal,
        at.offset,
        at.sealedLength,
        at.plainLength,
        at.form,
        ...at.basePrefixes.map(toHex),
      ];
      if (found.join() !== expected.join() || index.packInfo(at.pack).name !== toHex(pack.name))
        wrong.push({ found, expected });
    }
    expect(wrong).toEqual([]);
  }
  return count;
}

describe("the index cache", () => {
  it("is filled once and then serves every instance", async () => {
    const repository = await makeRepository();
    const cacheDir = makeCacheDir();
    const packs = await fill(repository, 3);
    expect(missing(await openIndex(repository, cacheDir), packs)).toBe(0);
    const { gets } = repository.storage;
    expect(missing(await openIndex(repository, cacheDir), packs)).toBe(0);
    expect(repository.storage.gets).toBe(gets);
    packs.push(...(await fill(repository, 1)));
    expect(missing(await openIndex(repository, cacheDir), packs)).toBe(0);
    expect(repository.storage.gets).toBe(gets + 1);
  });

  it("never gives a wrong answer from hurt bytes, and mends itself", async () => {
    const hurt = fc.record({
      file: fc.nat(),
      at: fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      how: fc.constantFrom("flip", "cut", "garbage", "grow", "delete"),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.array(hurt, { minLength: 1, maxLength: 3 }),
        fc.boolean(),
        async (hurts, isOpen) => {
          const repository = await makeRepository();
          const cacheDir = makeCacheDir();
          const packs = await fill(repository, 1, 2000);
          let index = await openIndex(repository, cacheDir);
          packs.push(...(await fill(repository, 1, 200)));
          await index.refresh();
          await putProtocolObject(repository, "mark");
          for (const { file, at, how } of hurts) {
            const files = cacheFiles(repository, cacheDir);
            if (files.length > 0) damage(files[file % files.length]!, at, how);
          }
          if (!isOpen) {
            index.close();
            index = await openIndex(repository, cacheDir);
          }
          if (missing(index, packs) > 0) expect(index.isIntact).toBe(false);
          await index.refresh();
          expect(missing(index, packs)).toBe(0);
          await index.ensureIntact();
          index.close();
          expect(missing(await openIndex(repository, cacheDir), packs)).toBe(0);
          expect(index.damaged).toEqual([]);
        },
      ),
      { numRuns: 30 },
    );
  });

  it("finds hurt buckets before they are asked, where a miss must be final", async () => {
    const repository = await makeRepository();
    const cacheDir = makeCacheDir();
    const packs = await fill(repository, 1, 2000);
    const index = await openIndex(repository, cacheDir);
    const run = cacheFiles(repository, cacheDir).find((path) => path.endsWith(".run"))!;
    damage(run, 0.6, "flip");
    await index.ensureIntact();
    expect(index.isIntact).toBe(true);
    expect(missing(index, packs)).toBe(0);
  });

  it("serves several instances at once while they add, merge and lose files", async () => {
    const repository = await makeRepository();
    const cacheDir = makeCacheDir();
    const packs: IndexedPack[] = [];
    const instances = await Promise.all([1, 2, 3].map(() => openIndex(repository, cacheDir)));
    for (let round = 0; round < 6; round++) {
      packs.push(...(await fill(repository, 4, 100)));
      if (round === 3) for (const path of cacheFiles(repository, cacheDir)) rmSync(path);
      await Promise.all(instances.map((index) => index.refresh()));
      for (const index of instances) expect(missing(index, packs)).toBe(0);
    }
    for (const index of instances) expect(index.sizes.runs).toBeLessThanOrEqual(7);
    const { gets } = repository.storage;
    expect(missing(await openIndex(repository, cacheDir), packs)).toBe(0);
    // Two writers of the manifest may lose one's runs: fetching again what those held is allowed.
    expect(repository.storage.gets - gets).toBeLessThanOrEqual(24);
  });

  it("keeps few runs and every record once, however many objects come one by one", async () => {
    const repository = await makeRepository();
    const cacheDir = makeCacheDir();
    const packs: IndexedPack[] = [];
    const index = await openIndex(repository, cacheDir);
    for (let n = 0; n < 40; n++) {
      packs.push(...(await fill(repository, 1, 30)));
      await index.refresh();
      expect(index.sizes.runs).toBeLessThanOrEqual(6);
    }
    expect(index.sizes.records).toBe(40 * 50);
    expect(missing(index, packs)).toBe(0);
  });

  it("forgets what vanished once runs are merged", async () => {
    const repository = await makeRepository();
    const cacheDir = makeCacheDir();
    await fill(repository, 2);
    const index = await openIndex(repository, cacheDir);
    for (const key of [...repository.storage.objects.keys()])
      repository.storage.objects.delete(key);
    const packs = await fill(repository, 3);
    await index.refresh();
    packs.push(...(await fill(repository, 1)));
    await index.refresh();
    expect(missing(index, packs)).toBe(0);
    expect(index.sizes.records).toBe(4 * 320);
    expect([...index.packs()]).toHaveLength(8);
  });

  it("fetches an object again whose packs lay in a run that is lost", async () => {
    const repository = await makeRepository();
    const cacheDir = makeCacheDir();
    const packs = await fill(repository, 1);
    const [old] = repository.storage.objects.keys();
    await openIndex(repository, cacheDir);
    const [lost] = cacheFiles(repository, cacheDir).filter((path) => path.endsWith(".run"));
    await putIndexObject(repository, packs);
    await openIndex(repository, cacheDir);
    expect(cacheFiles(repository, cacheDir)).toHaveLength(3);
    rmSync(lost!);
    repository.storage.objects.delete(old!);
    const { gets } = repository.storage;
    expect(missing(await openIndex(repository, cacheDir), packs)).toBe(0);
    expect(repository.storage.gets).toBe(gets + 1);
  });

  it("is not taken for another repository's", async () => {
    const [one, two] = [await makeRepository(), await makeRepository()];
    const cacheDir = makeCacheDir();
    const packs = await fill(one, 1);
    await openIndex(one, cacheDir);
    const target = join(cacheDir, toHex(two.repoId), "index");
    mkdirSync(target, { recursive: true });
    for (const path of cacheFiles(one, cacheDir))
      writeFileSync(join(target, path.split("/").at(-1)!), readFileSync(path));
    const index = await openIndex(two, cacheDir);
    expect(missing(index, packs)).toBe(320);
    expect(index.sizes.records).toBe(0);
  });

  it("deletes strays an hour old, and no younger ones", async () => {
    const repository = await makeRepository();
    const cacheDir = makeCacheDir();
    await openIndex(repository, cacheDir);
    const folder = join(cacheDir, toHex(repository.repoId), "index");
    const [old, young] = [join(folder, `${"a".repeat(32)}.run`), join(folder, ".tmp-1-1")];
    for (const path of [old, young]) writeFileSync(path, "stray");
    const past = new Date(Date.now() - 4_000_000);
    utimesSync(old, past, past);
    await fill(repository, 1);
    await openIndex(repository, cacheDir);
    expect(existsSync(old)).toBe(false);
    expect(existsSync(young)).toBe(true);
  });

  it("gives way to a private folder when it cannot be used, and says so", async () => {
    const repository = await makeRepository();
    const cacheDir = join(makeCacheDir(), "file");
    writeFileSync(cacheDir, "not a folder");
    const packs = await fill(repository, 2);
    const index = await openIndex(repository, cacheDir);
    expect(missing(index, packs)).toBe(0);
    expect(repository.notes.join()).toContain("a temporary one is used instead");
  });

  it("survives the loss of its whole folder while open", async () => {
    const repository = await makeRepository();
    const cacheDir = makeCacheDir();
    const packs = await fill(repository, 2);
    const index = await openIndex(repository, cacheDir);
    rmSync(cacheDir, { recursive: true });
    expect(missing(index, packs)).toBe(0);
    packs.push(...(await fill(repository, 2)));
    await index.refresh();
    expect(missing(index, packs)).toBe(0);
  });
});

function damage(path: string, at: number, how: string): void {
  const bytes = readFileSync(path);
  const place = Math.floor(at * bytes.length);
  if (how === "delete") rmSync(path);
  else if (how === "cut") truncateSync(path, place);
  else if (how === "grow") writeFileSync(path, Buffer.concat([bytes, Buffer.from("more")]));
  else {
    if (bytes.length === 0) return;
    if (how === "flip") bytes[place]! ^= 1 << (place % 8);
    else bytes.fill(0xa5, place, Math.min(bytes.length, place + 4096));
    // In place, so that open files see it too.
    writeFileSync(path, bytes, { flag: "r+" });
  }
}
