import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { toHex } from "../../src/bytes.ts";
import type { BlobIndex } from "../../src/repo/blob-index/index.ts";
import type { BlobClass, IndexedPack } from "../../src/repo/format/index.ts";
import {
  idOf,
  makeCacheDir,
  makePack,
  makeRepository,
  openIndex,
  putIndexObject,
  putPack,
  putProtocolObject,
  randomId,
  randomIds,
  type TestRepository,
} from "./support.ts";

/** What lookupAll must say, in a form that compares: pack name, ordinal and offset. */
function places(index: BlobIndex, cls: BlobClass, id: Uint8Array): string[] {
  return index
    .lookupAll(cls, id)
    .map(
      (at) =>
        `${index.packInfo(at.pack).name}/${at.ordinal}/${at.offset}/${at.sealedLength}/${at.plainLength}`,
    )
    .sort();
}

function modelPlaces(packs: readonly IndexedPack[], cls: BlobClass, id: Uint8Array): string[] {
  const found = new Set<string>();
  for (const pack of packs.filter((one) => one.cls === cls)) {
    let offset = 126;
    for (let ordinal = 0; ordinal < pack.count; ordinal++) {
      const length = pack.sealedLengths[ordinal]!;
      if (Buffer.compare(pack.ids.subarray(ordinal * 32, ordinal * 32 + 32), id) === 0)
        found.add(
          `${toHex(pack.name)}/${ordinal}/${offset}/${length}/${pack.plainLengths[ordinal]!}`,
        );
      offset += length;
    }
  }
  return [...found].sort();
}

type Step =
  | {
      readonly do: "object";
      readonly packs: readonly { readonly ids: readonly number[]; readonly cls: BlobClass }[];
    }
  | { readonly do: "merge" }
  | { readonly do: "vanish"; readonly which: number }
  | { readonly do: "hide"; readonly which: number }
  | { readonly do: "own"; readonly ids: readonly number[] }
  | { readonly do: "reopen" };

const someIds = fc.array(fc.nat({ max: 60 }), { maxLength: 12 });
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant("object" as const),
      packs: fc.array(
        fc.record({ ids: someIds, cls: fc.constantFrom("data" as const, "tree" as const) }),
        { maxLength: 4 },
      ),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ do: "merge" as const }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("vanish" as const), which: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("hide" as const), which: fc.nat() }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("own" as const), ids: someIds }) },
  { weight: 1, arbitrary: fc.constant({ do: "reopen" as const }) },
);

/** The repository as plain lists, beside the real one. */
class Model {
  objects = new Map<string, readonly IndexedPack[]>();
  own: IndexedPack[] = [];
  hidden = new Set<string>();

  get packs(): IndexedPack[] {
    return [...[...this.objects.values()].flat(), ...this.own].filter(
      (pack) => !this.hidden.has(toHex(pack.name)),
    );
  }
}

describe("BlobIndex", () => {
  it("finds ids in a run that is too large to be read whole", async () => {
    const repository = await makeRepository();
    const packs = Array.from({ length: 150 }, () => makePack({ ids: randomIds(1000) }));
    await putIndexObject(repository, packs);
    const index = await openIndex(repository, makeCacheDir());
    for (const pack of packs) {
      for (const ordinal of [0, 500, 999]) {
        const id = pack.ids.slice(ordinal * 32, (ordinal + 1) * 32);
        expect(index.lookup("data", id)?.ordinal).toBe(ordinal);
      }
    }
    expect(randomIds(100).some((id) => index.has("data", id))).toBe(false);
    expect(index.isIntact).toBe(true);
  });

  it("answers as a plain list of packs does, whatever happens to the repository", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 14 }), async (steps) => {
        const repository = await makeRepository();
        const cacheDir = makeCacheDir();
        const model = new Model();
        let index = await openIndex(repository, cacheDir);
        for (const one of steps) {
          index = await take(one, repository, model, index, cacheDir);
          for (let number = 0; number <= 61; number++) {
            for (const cls of ["data", "tree"] as const) {
              const expected = modelPlaces(model.packs, cls, idOf(number));
              expect(places(index, cls, idOf(number))).toEqual(expected);
              expect(index.has(cls, idOf(number))).toBe(expected.length > 0);
            }
          }
        }
        index.close();
      }),
      { numRuns: 25 },
    );
  });

  it("tells the class apart, and pending from stored", async () => {
    const index = await openIndex(await makeRepository());
    const [id] = randomIds(1);
    expect(index.addPending("data", id!)).toBe(true);
    expect(index.addPending("data", id!)).toBe(false);
    expect(index.addPending("tree", id!)).toBe(true);
    expect(index.has("data", id!)).toBe(false);
    index.addPack(makePack({ ids: [id!] }));
    expect(index.has("data", id!)).toBe(true);
    expect(index.has("tree", id!)).toBe(false);
    expect(index.addPending("data", id!)).toBe(false);
  });

  it("prefers a plain form to a delta, and names a delta's bases by prefix", async () => {
    const repository = await makeRepository();
    const [id, base] = [randomId(), randomId()];
    const delta = makePack({
      ids: [randomId(), id],
      bases: new Map([[1, [base.subarray(0, 8), randomId().subarray(0, 8)]]]),
    });
    await putIndexObject(repository, [delta]);
    const index = await openIndex(repository);
    expect(index.lookup("data", id)).toMatchObject({
      form: 2,
      depth: 1,
      basePrefixes: delta.bases.map(({ prefix }) => prefix),
    });
    // What this process stored is looked at first, and must not win for that.
    index.addPack(makePack({ ids: [id], bases: new Map([[0, [base.subarray(0, 8)]]]) }));
    await putIndexObject(repository, [makePack({ ids: [id] })]);
    await index.refresh();
    expect(index.lookup("data", id)).toMatchObject({ form: 1, basePrefixes: [] });
    expect(
      index
        .lookupAll("data", id)
        .map(({ form }) => form)
        .sort(),
    ).toEqual([1, 2, 2]);
  });

  it("finds every id of a prefix, stored and just added", async () => {
    const repository = await makeRepository();
    const ids = [0, 1, 2, 3].map(idOf);
    await putIndexObject(repository, [
      makePack({ ids: [ids[0]!, ids[3]!] }),
      makePack({ ids: randomIds(500) }),
    ]);
    const index = await openIndex(repository);
    index.addPack(makePack({ ids: [ids[1]!, ids[2]!] }));
    const found = index.lookupPrefix("data", ids[0]!.subarray(0, 8)).map(({ id }) => toHex(id));
    expect(found.sort()).toEqual(ids.slice(0, 3).map(toHex).sort());
    expect(index.lookupPrefix("tree", ids[0]!.subarray(0, 8))).toEqual([]);
  });

  it("does not see a pack that a merged index resurrects (R2)", async () => {
    const repository = await makeRepository();
    const [kept, dead] = [makePack({ ids: randomIds(3) }), makePack({ ids: randomIds(3) })];
    const first = await putIndexObject(repository, [kept]);
    const second = await putIndexObject(repository, [dead]);
    await putPack(repository, kept);
    await putIndexObject(repository, [kept, dead], [first, second]);
    await repository.storage.delete("index", second);
    const index = await openIndex(repository);
    await index.restrictToListed(repository.storage.list("data"));
    expect(index.has("data", kept.ids)).toBe(true);
    expect(index.has("data", dead.ids)).toBe(false);
    expect(index.lookupAll("data", dead.ids)).toEqual([]);
    expect(index.addPending("data", dead.ids)).toBe(true);
  });

  it("does not reuse a pack whose listed size is not what the index says", async () => {
    const repository = await makeRepository();
    const pack = makePack({ ids: randomIds(3) });
    await putIndexObject(repository, [pack]);
    await putPack(repository, { ...pack, size: pack.size - 1 });
    const index = await openIndex(repository);
    await index.restrictToListed(repository.storage.list("data"));
    expect(index.has("data", pack.ids)).toBe(false);
  });

  it("keeps what this process stored while it lists, and hides packs that come later than their mark", async () => {
    const repository = await makeRepository();
    const [own, marked] = [makePack({ ids: randomIds(2) }), makePack({ ids: randomIds(2) })];
    const index = await openIndex(repository);
    async function* listing(): AsyncGenerator<{ name: string; size: number }> {
      index.addPack(own);
      yield* repository.storage.list("data");
    }
    await index.restrictToListed(listing());
    expect(index.has("data", own.ids)).toBe(true);
    index.hidePacks([toHex(marked.name), toHex(own.name)]);
    await putPack(repository, marked);
    await putIndexObject(repository, [marked]);
    await index.refresh();
    await index.restrictToListed(repository.storage.list("data"));
    expect(index.has("data", marked.ids)).toBe(false);
    expect(index.has("data", own.ids)).toBe(false);
    expect(index.usable(index.packNumber(toHex(marked.name))!)).toBe(false);
  });

  it("lists again when objects vanish between list and get", async () => {
    const repository = await makeRepository();
    const pack = makePack({ ids: randomIds(5) });
    const old = await putIndexObject(repository, [pack]);
    repository.storage.beforeGet = (name) => {
      if (name !== old || !repository.storage.objects.delete(`index/${old}`)) return;
      void putIndexObject(repository, [pack], [old]);
    };
    const index = await openIndex(repository);
    expect(index.has("data", pack.ids)).toBe(true);
    expect(index.damaged).toEqual([]);
  });

  it("works without objects that are damaged, forged or strange, and names them", async () => {
    const repository = await makeRepository();
    const other = await makeRepository();
    const pack = makePack({ ids: randomIds(5) });
    await putIndexObject(repository, [pack]);
    const flipped = await putIndexObject(repository, [makePack({ ids: randomIds(5) })]);
    repository.storage.objects.get(`index/${flipped}`)![200]! ^= 1;
    const forged = await putIndexObject(
      repository,
      [makePack({ ids: randomIds(5) })],
      [],
      other.writer,
    );
    const strange = await putIndexObject(other, [makePack({ ids: randomIds(5) })]);
    repository.storage.objects.set(
      `index/${strange}`,
      other.storage.objects.get(`index/${strange}`)!,
    );
    const index = await openIndex(repository);
    expect(index.has("data", pack.ids)).toBe(true);
    expect(index.damaged.map(({ name }) => name).sort()).toEqual([flipped, forged, strange].sort());
  });

  it("tells protocol objects from index objects, and remembers it", async () => {
    const repository = await makeRepository();
    const cacheDir = makeCacheDir();
    const mark = await putProtocolObject(repository, "mark");
    const census = await putProtocolObject(repository, "census");
    await putIndexObject(repository, [makePack({ ids: randomIds(5) })]);
    const kinds = (index: BlobIndex): unknown =>
      Object.fromEntries(index.protocolObjects().map(({ name, kind }) => [name, kind]));
    const expected = { [mark]: "mark", [census]: "census" };
    expect(kinds(await openIndex(repository, cacheDir))).toEqual(expected);
    const { gets } = repository.storage;
    expect(kinds(await openIndex(repository, cacheDir))).toEqual(expected);
    expect(repository.storage.gets).toBe(gets);
  });

  it("lets nobody hide a pack's blobs by a contradicting claim", async () => {
    const repository = await makeRepository();
    const pack = makePack({ ids: randomIds(5) });
    await putIndexObject(repository, [makePack({ ids: randomIds(5), name: pack.name })]);
    await putIndexObject(repository, [pack]);
    await putIndexObject(repository, [makePack({ ids: randomIds(5), name: pack.name })]);
    const index = await openIndex(repository);
    expect(index.lookup("data", pack.ids)).toMatchObject({ ordinal: 0, offset: 126 });
    expect(index.packNumbers(toHex(pack.name))).toHaveLength(3);
  });

  it("streams all index objects, from the storage", async () => {
    const repository = await makeRepository();
    const names = [
      await putIndexObject(repository, [makePack({ ids: randomIds(5) })]),
      await putIndexObject(repository, [makePack({ ids: randomIds(5) })]),
    ];
    await putProtocolObject(repository, "mark");
    const index = await openIndex(repository);
    const seen = new Map<string, string>();
    for await (const { name, writerId, object } of index.objects()) {
      seen.set(name, writerId);
      expect(object.packs).toHaveLength(1);
    }
    expect([...seen.keys()].sort()).toEqual(names.sort());
    expect(new Set(seen.values())).toEqual(new Set([repository.writer.writerId]));
  });
});

async function take(
  one: Step,
  repository: TestRepository,
  model: Model,
  index: BlobIndex,
  cacheDir: string,
): Promise<BlobIndex> {
  const names = [...model.objects.keys()];
  switch (one.do) {
    case "object": {
      const packs = one.packs.map(({ ids, cls }) => makePack({ ids: ids.map(idOf), cls }));
      model.objects.set(await putIndexObject(repository, packs), packs);
      break;
    }
    case "merge": {
      const packs = [...new Set([...model.objects.values()].flat())];
      model.objects.set(await putIndexObject(repository, packs, names), packs);
      break;
    }
    case "vanish": {
      if (names.length === 0) return index;
      const name = names[one.which % names.length]!;
      model.objects.delete(name);
      await repository.storage.delete("index", name);
      break;
    }
    case "hide": {
      if (model.packs.length === 0) return index;
      const name = toHex(model.packs[one.which % model.packs.length]!.name);
      model.hidden.add(name);
      index.hidePacks([name]);
      return index;
    }
    case "own": {
      const pack = makePack({ ids: one.ids.map(idOf) });
      for (const id of one.ids) index.addPending("data", idOf(id));
      model.own.push(pack);
      index.addPack(pack);
      return index;
    }
    case "reopen": {
      index.close();
      model.own = [];
      const again = await openIndex(repository, cacheDir);
      again.hidePacks(model.hidden);
      return again;
    }
  }
  await index.refresh();
  return index;
}
