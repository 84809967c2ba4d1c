import { describe, expect, it } from "vitest";
import { generateWriterKeys, systemRandom } from "../../src/crypto/index.ts";
import { IndexWriter, type BlobIndex } from "../../src/repo/blob-index/index.ts";
import type { IndexedPack } from "../../src/repo/format/index.ts";
import {
  makeCacheDir,
  makePack,
  makeRepository,
  openIndex,
  putIndexObject,
  randomIds,
  type TestRepository,
} from "./support.ts";

function makeWriter(repository: TestRepository, index: BlobIndex, clock = () => 0): IndexWriter {
  return new IndexWriter({
    ...repository,
    random: systemRandom,
    session: systemRandom.bytes(16),
    clock,
    index,
  });
}

describe("IndexWriter", () => {
  it("is due after five minutes, after many blobs, and never with nothing to write", async () => {
    const repository = await makeRepository();
    const writer = makeWriter(repository, await openIndex(repository));
    expect(writer.due(10 * 60_000)).toBe(false);
    writer.add(makePack({ ids: randomIds(3) }));
    expect(writer.due(4 * 60_000)).toBe(false);
    expect(writer.due(5 * 60_000)).toBe(true);
    await writer.write();
    expect(writer.due(5 * 60_000)).toBe(false);
    const large = makePack({ ids: randomIds(600) });
    writer.add({ ...large, plainLengths: large.plainLengths.map(() => 8 * 1024 * 1024) });
    expect(writer.due(0)).toBe(true);
  });

  it("writes objects that another host reads, and frees the memory of what it wrote", async () => {
    const repository = await makeRepository();
    const index = await openIndex(repository);
    const writer = makeWriter(repository, index);
    const packs: IndexedPack[] = [];
    for (let round = 0; round < 20; round++) {
      for (let n = 0; n < 3; n++) {
        const pack = makePack({ ids: randomIds(100) });
        for (let ordinal = 0; ordinal < pack.count; ordinal++)
          expect(index.addPending("data", pack.ids, ordinal * 32)).toBe(true);
        index.addPack(pack);
        writer.add(pack);
        packs.push(pack);
      }
      expect(index.sizes.fresh).toBe(300);
      expect(await writer.write()).toBe(writer.written.at(-1));
      expect(index.sizes.fresh).toBe(0);
    }
    const other = await openIndex(repository);
    for (const one of [index, other]) {
      for (const pack of packs)
        expect(one.lookup("data", pack.ids, 99 * 32)).toMatchObject({ ordinal: 99 });
    }
    const { gets } = repository.storage;
    await index.refresh();
    expect(repository.storage.gets).toBe(gets);
    expect(await writer.write()).toBeUndefined();
  });

  it("keeps pending ids and unwritten packs when it frees others", async () => {
    const repository = await makeRepository();
    const index = await openIndex(repository);
    const writer = makeWriter(repository, index);
    const [pending] = randomIds(1);
    const [written, unwritten] = [makePack({ ids: randomIds(5) }), makePack({ ids: randomIds(5) })];
    index.addPending("data", pending!);
    for (const pack of [written, unwritten]) index.addPack(pack);
    writer.add(written);
    await writer.write();
    expect(index.addPending("data", pending!)).toBe(false);
    expect(index.has("data", pending!)).toBe(false);
    expect(index.lookup("data", unwritten.ids)).toMatchObject({ ordinal: 0 });
    expect(index.lookup("data", written.ids)).toMatchObject({ ordinal: 0 });
  });

  it("keeps what could not be stored for the next call", async () => {
    const repository = await makeRepository();
    const index = await openIndex(repository);
    const writer = makeWriter(repository, index);
    const pack = makePack({ ids: randomIds(5) });
    writer.add(pack);
    repository.storage.putError = new Error("no space");
    await expect(writer.write()).rejects.toThrow("no space");
    repository.storage.putError = undefined;
    await writer.write();
    expect((await openIndex(repository)).has("data", pack.ids)).toBe(true);
  });

  it("merges its own objects only, names what it replaced, and deletes nothing", async () => {
    const repository = await makeRepository();
    const foreigner = generateWriterKeys(systemRandom);
    const cacheDir = makeCacheDir();
    const packs = Array.from({ length: 9 }, () => makePack({ ids: randomIds(10) }));
    const own: string[] = [];
    for (const pack of packs) own.push(await putIndexObject(repository, [pack]));
    const index = await openIndex(repository, cacheDir);
    await putIndexObject(repository, [makePack({ ids: randomIds(10) })], [], foreigner);
    const writer = makeWriter(repository, index);
    const [merged, ...more] = await writer.mergeOwn(index);
    expect(more).toEqual([]);
    expect(repository.storage.objects.size).toBe(11);
    expect(index.indexObjects().find(({ name }) => name === merged)?.replaces).toEqual(own.sort());
    expect(await writer.mergeOwn(index)).toEqual([]);
    for (const name of own) await repository.storage.delete("index", name);
    await index.refresh();
    const other = await openIndex(repository);
    for (const pack of packs)
      for (const one of [index, other]) expect(one.lookupAll("data", pack.ids)).toHaveLength(1);
    expect(index.indexObjects().map(({ name }) => name)).toEqual([merged]);
  });
});
