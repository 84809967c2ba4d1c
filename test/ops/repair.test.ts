/** Damage, then repair: what is whole stays restorable, what is lost is said, the next backup heals. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { toHex } from "../../src/bytes.ts";
import { cutStream } from "../../src/chunker/index.ts";
import { createIdHasher, newPackSeal } from "../../src/crypto/index.ts";
import { RepositoryBusyError } from "../../src/errors.ts";
import { IndexWriter } from "../../src/repo/blob-index/index.ts";
import { packBytesFor, PackBuilder } from "../../src/repo/blobs/index.ts";
import {
  backup,
  check,
  listSnapshots,
  repairIndex,
  repairSnapshots,
  type Repository,
  restore,
} from "../../src/repo/ops/index.ts";
import { Session } from "../../src/repo/ops/sessions.ts";
import { backupKey, DamageLab, flipAt } from "./damage-support.ts";

const all = { readData: { kind: "all" } } as const;
let lab: DamageLab;

beforeEach(async () => {
  lab = await DamageLab.create();
});
afterEach(async () => {
  await lab[Symbol.asyncDispose]();
});

async function packs(cls: "data" | "tree"): Promise<string[]> {
  const index = await (await lab.open()).index();
  return [...index.packs()].filter((pack) => pack.cls === cls).map(({ name }) => name);
}

async function restored(path: string): Promise<Uint8Array> {
  const target = join(lab.folder, `restored ${Math.floor(lab.nowMs++)}`);
  await restore(await lab.open(), {
    snapshot: "latest",
    path: join(lab.source, path),
    target: { kind: "file", path: target },
  });
  return readFileSync(target);
}

async function backUpAgain(): Promise<void> {
  lab.nowMs += 86_400_000;
  const repository = await lab.open();
  await backup(repository, {
    paths: [lab.source],
    cwd: lab.folder,
    images: ["**/*.img"],
    force: true,
  });
}

describe("repair index", () => {
  test("changes nothing in a sound repository", async () => {
    const before = await lab.names("index");
    const summary = await repairIndex(await lab.open(), { readAllPacks: true });
    expect(summary).toMatchObject({
      packsAdded: [],
      packsDamaged: [],
      objectsRemoved: [],
      objectsWritten: [],
    });
    expect(await lab.names("index")).toEqual(before);
  });

  test("rebuilds a lost or damaged index from the packs alone", async () => {
    for (const [at, name] of (await lab.names("index")).entries()) {
      if (at % 2 === 0) await lab.storage.delete("index", name);
      else
        lab.storage.damage(
          "index",
          name,
          flipAt((length) => length - 20),
        );
    }
    expect((await check(await lab.open())).errorCount).toBeGreaterThan(0);
    const summary = await repairIndex(await lab.open());
    expect(summary.packsAdded.length).toBeGreaterThan(0);
    const report = await check(await lab.open(), all);
    expect(report.errors).toEqual([]);
    expect(report.unindexedPackCount).toBe(0);
  });

  test("saves the good blobs of a pack with one flipped bit; the next backup stores the lost one again", async () => {
    const [name] = await packs("data");
    lab.storage.damage(
      "data",
      name!,
      flipAt(() => 130),
    );
    const host = await lab.open(undefined, "checker");
    expect((await check(host, all)).damagedPacks[0]).toMatchObject({ name, lostCount: 1 });
    const summary = await repairIndex(await lab.open(undefined, "checker"));
    expect(summary).toMatchObject({ packsDamaged: [name], blobsLost: 1 });
    expect(summary.blobsSaved).toBeGreaterThan(0);
    expect(await lab.names("data")).toContain(name);

    const lost = await check(await lab.open(), all);
    expect(lost.hurtPathCount).toBeGreaterThan(0);
    expect(lost.damagedPacks).toEqual([]);
    await backUpAgain();
    const healed = await check(await lab.open(), all);
    expect(healed.errors).toEqual([]);
    for (const path of ["disk.img", "docs/noise.bin", "keep.txt"])
      expect(Buffer.compare(await restored(path), readFileSync(join(lab.source, path)))).toBe(0);
  });

  test("an old index object that comes back, merged by a host that knew no better, changes nothing", async () => {
    const [name] = await packs("data");
    const old: { name: string; bytes: Uint8Array }[] = [];
    for (const object of await lab.names("index"))
      old.push({ name: object, bytes: (await lab.storage.get("index", object))! });
    lab.storage.damage(
      "data",
      name!,
      flipAt(() => 130),
    );
    await repairIndex(await lab.open(), { readAllPacks: true });
    for (const { name: object, bytes } of old) await lab.storage.put("index", object, [bytes]);
    expect((await check(await lab.open())).hurtPathCount).toBeGreaterThan(0);
    await backUpAgain();
    const report = await check(await lab.open(), all);
    const [newest] = (await listSnapshots(await lab.open())).snapshots.slice(-1);
    expect(report.hurtSnapshots.map(({ id }) => id)).not.toContain(newest!.id);
    for (const path of ["disk.img", "docs/noise.bin", "docs/letter.txt", "keep.txt"])
      expect(Buffer.compare(await restored(path), readFileSync(join(lab.source, path)))).toBe(0);
  });

  test("finds a damaged pack that no check has noted when it reads all", async () => {
    const [name] = await packs("data");
    lab.storage.damage(
      "data",
      name!,
      flipAt(() => 60),
    );
    expect((await repairIndex(await lab.open())).packsDamaged).toEqual([]);
    const summary = await repairIndex(await lab.open(), { readAllPacks: true });
    expect(summary.packsDamaged).toEqual([name]);
    expect(summary.blobsSaved).toBe(0);
    await backUpAgain();
    // What only the first night held is lost for good.
    const report = await check(await lab.open());
    const [first] = (await listSnapshots(await lab.open())).snapshots;
    const letter = join(lab.source, "docs", "letter.txt");
    expect(report.hurtPaths).toMatchObject([{ snapshot: first!.id, path: letter }]);
  });

  test("takes packs that are gone out of the index, and heals by the next backup", async () => {
    for (const name of [...(await packs("data")), ...(await packs("tree"))]) {
      await lab.storage.delete("data", name);
    }
    const summary = await repairIndex(await lab.open());
    expect(summary.packsMissing.length).toBeGreaterThan(0);
    await backUpAgain();
    const report = await check(await lab.open(), all);
    expect(report.damagedPacks).toEqual([]);
    const [newest] = (await listSnapshots(await lab.open())).snapshots.slice(-1);
    expect(report.hurtSnapshots.map(({ id }) => id)).not.toContain(newest!.id);
  });

  test("gives a key whose card is lost a new one, and vouches anew for its packs", async () => {
    const repository = await lab.open();
    const { cards } = await repository.writerRegistry();
    const own = cards.find((card) => card.writer === repository.writer.writerId)!;
    await lab.storage.delete("keys", own.objectName);
    expect((await check(await lab.open())).errorCount).toBeGreaterThan(0);
    await repairIndex(await lab.open());
    const report = await check(await lab.open(), all);
    expect(report.errors).toEqual([]);
    expect(report.snapshotCount).toBe(2);
  });

  test("a dry run writes and deletes nothing", async () => {
    const [name] = await packs("data");
    await lab.storage.delete("data", name!);
    const before = await lab.names("index");
    const summary = await repairIndex(await lab.open(), { dryRun: true });
    expect(summary.packsMissing).toEqual([name]);
    expect(await lab.names("index")).toEqual(before);
  });

  test("gives way to another collector, and not to one that has ended", async () => {
    const other = await lab.open();
    const session = await Session.start(other, "collector");
    await expect(repairIndex(await lab.open())).rejects.toBeInstanceOf(RepositoryBusyError);
    await session.end();
    await repairIndex(await lab.open());
  });

  test("a stolen backup host that lists known ids over wrong bytes is named, and the next backup heals", async () => {
    const content = readFileSync(join(lab.source, "docs", "noise.bin"));
    const fresh = new Uint8Array(100_000).fill(7);
    fresh.set(content.subarray(0, 50_000));
    const thief = await lab.open(backupKey);
    // The thief knows what others will store, and lists its id over bytes of his own.
    await poison(thief, fresh);
    writeFileSync(join(lab.source, "victim.bin"), fresh);
    const victim = await lab.open();
    lab.nowMs += 86_400_000;
    await backup(victim, { paths: [join(lab.source, "victim.bin")], cwd: lab.folder });

    const report = await check(await lab.open(undefined, "checker"), all);
    const accused = report.errors.filter(({ kind }) => kind === "pack");
    expect(accused.length).toBe(1);
    expect(accused[0]!.writers).toEqual([thief.writer.writerId]);
    expect(report.hurtPaths.map(({ path }) => path)).toContain(join(lab.source, "victim.bin"));

    const summary = await repairIndex(await lab.open(undefined, "checker"));
    expect(summary.writersBlamed).toEqual([thief.writer.writerId]);
    lab.nowMs += 86_400_000;
    await backup(await lab.open(), {
      paths: [join(lab.source, "victim.bin")],
      cwd: lab.folder,
    });
    expect((await check(await lab.open(), all)).errors).toEqual([]);
    const restoredBytes = await restored("victim.bin");
    expect(Buffer.compare(restoredBytes, fresh)).toBe(0);
  });
});

describe("repair snapshots", () => {
  test("leaves sound snapshots alone", async () => {
    const summary = await repairSnapshots(await lab.open());
    expect(summary).toMatchObject({ snapshotCount: 2, repaired: [], forgotten: [] });
  });

  test("cuts out what is lost, keeps the rest, and says so", async () => {
    const [name] = await packs("data");
    lab.storage.damage(
      "data",
      name!,
      flipAt(() => 130),
    );
    const hurt = (await check(await lab.open(undefined, "checker"), all)).hurtPaths.map(
      ({ path }) => path,
    );
    await repairIndex(await lab.open(undefined, "checker"));
    const dry = await repairSnapshots(await lab.open(), { dryRun: true });
    expect((await listSnapshots(await lab.open())).snapshots.length).toBe(2);
    const summary = await repairSnapshots(await lab.open(), { forget: true });
    expect(summary.repaired.map(({ cut }) => cut)).toEqual(dry.repaired.map(({ cut }) => cut));
    expect(new Set(summary.repaired.flatMap(({ cut }) => cut))).toEqual(new Set(hurt));
    expect(summary.forgotten.length).toBe(summary.repaired.length);

    const report = await check(await lab.open(), all);
    expect(report.errors).toEqual([]);
    const { snapshots } = await listSnapshots(await lab.open());
    expect(snapshots.length).toBe(2);
    const repaired = snapshots.find(({ id }) => id === summary.repaired[0]!.repairedId);
    expect(repaired!.tags).toContain("repaired");
    expect(repaired!.original).toBe(summary.repaired[0]!.id);
    expect(repaired!.warnings.first[0]).toContain("Left out by repair");
    expect(Buffer.from(await restored("keep.txt")).toString()).toBe("untouched by all of this");
  });

  test("a snapshot of which nothing is left is only forgotten when asked", async () => {
    for (const name of await packs("tree")) await lab.storage.delete("data", name);
    await repairIndex(await lab.open());
    const summary = await repairSnapshots(await lab.open());
    expect(summary.repaired.every(({ isLost }) => isLost)).toBe(true);
    expect((await listSnapshots(await lab.open())).snapshots.length).toBe(2);
    await repairSnapshots(await lab.open(), { forget: true });
    expect((await check(await lab.open())).errors).toEqual([]);
  });
});

/** A pack that claims to hold `plain` and does not, and an index object that says so, signed by a backup key. */
async function poison(thief: Repository, plain: Uint8Array): Promise<void> {
  const { keys, id: repoId, writer, storage, environment } = thief;
  const { random } = environment;
  const seal = newPackSeal(keys.dataBoxPublic, keys.generation, repoId, "data", random);
  const wanted = chunkIdsOf(thief, plain);
  const builder = new PackBuilder(
    seal,
    repoId,
    "data",
    new Uint8Array(packBytesFor(1_000_000, 64)),
  );
  for (const { id, length } of wanted)
    builder.add({
      id,
      form: 0,
      depth: 0,
      plainLength: length,
      bytes: random.bytes(length),
      bases: [],
    });
  const { pack, bytes } = builder.build();
  await storage.put("data", toHex(pack.name), [bytes]);
  const index = new IndexWriter({
    ...{ storage, keys, repoId, writer, random },
    session: undefined,
    clock: () => 0,
  });
  index.add(pack);
  await index.write();
}

function chunkIdsOf(
  { keys, settings }: Repository,
  plain: Uint8Array,
): { id: Uint8Array; length: number }[] {
  const ids = createIdHasher(keys);
  const { minBytes, averageBytes, maxBytes } = settings.chunker.stream;
  const lengths = cutStream(plain, true, { minBytes, averageBytes, maxBytes });
  let at = 0;
  return [...lengths].map((length) => {
    const chunk = plain.subarray(at, at + length);
    at += length;
    return { id: ids.id("data", chunk), length };
  });
}
