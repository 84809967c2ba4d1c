/** `check` on real repositories with real damage: what is hurt is named, what is not is not. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { isSealedToBox } from "../../src/crypto/index.ts";
import { CorruptionError, WrongPasswordError } from "../../src/errors.ts";
import { check, type CheckReport, restore } from "../../src/repo/ops/index.ts";
import type { ObjectKind } from "../../src/storage/index.ts";
import { DamageLab, flipAt, fullKey } from "./damage-support.ts";

const all = { readData: { kind: "all" } } as const;

let lab: DamageLab;
let sound: DamageLab["storage"];

beforeAll(async () => {
  lab = await DamageLab.create();
  sound = lab.storage;
});
afterAll(async () => {
  await lab[Symbol.asyncDispose]();
});

async function checked(
  storage: DamageLab["storage"],
  options: Parameters<typeof check>[1] = {},
): Promise<CheckReport> {
  const repository = await lab.openOn(storage, fullKey);
  return check(repository, options);
}

async function packsOf(cls: "data" | "tree"): Promise<string[]> {
  const repository = await lab.openOn(sound, fullKey);
  const index = await repository.index();
  return [...index.packs()].filter((pack) => pack.cls === cls).map(({ name }) => name);
}

describe("check", () => {
  test("finds nothing wrong with a sound repository, with and without reading data", async () => {
    const structure = await checked(sound.copy());
    expect(structure).toMatchObject({
      errorCount: 0,
      warnings: [],
      snapshotCount: 2,
      packsRead: 0,
    });
    const data = await checked(sound.copy(), all);
    expect(data.errors).toEqual([]);
    expect(data.packsRead).toBe(data.packCount);
    expect(data.bytesRead).toBe(data.packBytes);
  });

  test.each<[ObjectKind, string]>([
    ["index", "index"],
    ["snapshots", "snapshot"],
    ["keys", "key|card"],
    ["locks", "session"],
  ])(
    "names each object of %s in which a byte was flipped or the end cut off",
    async (folder, kinds) => {
      for (const name of await lab.names(folder)) {
        if (name === lab.fullSlot) continue;
        for (const change of [
          flipAt((length) => Math.floor(length / 2)),
          flipAt(() => 20),
          flipAt((length) => length - 1),
          (bytes: Uint8Array) => bytes.subarray(0, bytes.length - 40),
        ]) {
          const hurt = sound.copy();
          hurt.damage(folder, name, change);
          const { errors } = await checked(hurt);
          const named = errors.filter(({ object }) => object === name);
          expect(named.length, `${folder}/${name}`).toBeGreaterThan(0);
          expect(named[0]!.kind).toMatch(new RegExp(kinds));
        }
      }
    },
  );

  test("a deleted index object, card or key slot is noticed", async () => {
    for (const name of await lab.names("index")) {
      // Hooks are hints: without them a night costs more, and nothing is lost.
      if (isSealedToBox((await lab.storage.get("index", name))!)) continue;
      const hurt = sound.copy();
      await hurt.delete("index", name);
      const report = await checked(hurt);
      expect(report.unindexedPackCount + report.errorCount, `index/${name}`).toBeGreaterThan(0);
    }
    for (const name of await lab.names("keys")) {
      if (name === lab.fullSlot) continue;
      const hurt = sound.copy();
      await hurt.delete("keys", name);
      const kinds = (await checked(hurt)).errors.map(({ kind }) => kind);
      // The other host's card is missed only once it has signed something.
      if (name !== lab.unusedCard) expect(kinds.length, `keys/${name}`).toBeGreaterThan(0);
    }
  });

  test("a config that was changed opens nothing", async () => {
    for (const change of [flipAt((length) => length - 10), flipAt(() => 2)]) {
      const hurt = sound.copy();
      hurt.damage("config", "config", change);
      await expect(lab.openOn(hurt, fullKey)).rejects.toBeInstanceOf(CorruptionError);
    }
  });

  test("a damaged key slot is told from a wrong key", async () => {
    const hurt = sound.copy();
    hurt.damage(
      "keys",
      lab.fullSlot,
      flipAt(() => 20),
    );
    const refused = lab.openOn(hurt, fullKey);
    await expect(refused).rejects.toBeInstanceOf(WrongPasswordError);
    await expect(refused).rejects.toMatchObject({
      hint: expect.stringContaining("damaged") as string,
    });
  });

  test("what damage has not touched can be restored before any repair", async () => {
    const [name] = await packsOf("data");
    const hurt = sound.copy();
    hurt.damage(
      "data",
      name!,
      flipAt(() => 130),
    );
    const report = await checked(hurt, all);
    const isHurt = new Set(report.hurtPaths.map(({ path }) => path));
    let restoredCount = 0;
    for (const file of ["keep.txt", "docs/noise.bin", "docs/letter.txt", "disk.img"]) {
      const path = join(lab.source, file);
      if (isHurt.has(path)) continue;
      const target = join(lab.folder, `back ${restoredCount++}`);
      const repository = await lab.openOn(hurt, fullKey);
      await restore(repository, {
        snapshot: "latest",
        path,
        target: { kind: "file", path: target },
      });
      expect(Buffer.compare(readFileSync(target), readFileSync(path)), file).toBe(0);
    }
    expect(restoredCount).toBe(3);
  });

  test("names a data pack that is missing or short, its chunks and the files hurt", async () => {
    const [name] = await packsOf("data");
    for (const hurtPack of ["delete", "truncate"]) {
      const hurt = sound.copy();
      if (hurtPack === "delete") await hurt.delete("data", name!);
      else hurt.damage("data", name!, (bytes) => bytes.subarray(0, bytes.length - 1));
      const report = await checked(hurt);
      expect(report.damagedPacks.map((pack) => pack.name)).toEqual([name]);
      expect(report.damagedPacks[0]!.lostCount).toBeGreaterThan(0);
      expect(report.damagedPacks[0]!.damagedIds.length).toBeGreaterThan(0);
      expect(report.hurtSnapshots.length).toBeGreaterThan(0);
      expect(report.hurtPaths.some(({ path }) => path.endsWith("disk.img"))).toBe(true);
    }
  });

  test("a pack that is gone and that no snapshot needs is a warning", async () => {
    const hurt = sound.copy();
    for (const name of await packsOf("data")) await hurt.delete("data", name);
    for await (const { name } of sound.copy().list("snapshots"))
      await hurt.delete("snapshots", name);
    const report = await checked(hurt);
    expect(report.damagedPacks).toEqual([]);
    expect(report.errors.filter(({ kind }) => kind === "pack")).toEqual([]);
    expect(report.warnings.map(({ message }) => message).join()).toContain("no snapshot needs it");
  });

  test("names the folders lost with a tree pack", async () => {
    for (const name of await packsOf("tree")) {
      const hurt = sound.copy();
      await hurt.delete("data", name);
      const report = await checked(hurt);
      expect(report.damagedPacks.map((pack) => pack.name)).toEqual([name]);
      expect(report.hurtPathCount).toBeGreaterThan(0);
    }
  });

  test.each<[string, (length: number) => number]>([
    ["header", () => 50],
    ["first blob", () => 130],
    ["middle", (length) => Math.floor(length / 2)],
    ["footer or padding", (length) => length - 60],
    ["trailer", (length) => length - 5],
  ])("reading data finds one flipped bit in a pack's %s", async (_where, position) => {
    for (const name of [...(await packsOf("data")), ...(await packsOf("tree"))]) {
      const hurt = sound.copy();
      hurt.damage("data", name, flipAt(position));
      const report = await checked(hurt, all);
      expect(report.damagedPacks.map((pack) => pack.name)).toContain(name);
      // Where others are named, it is for deltas against what is damaged.
      for (const { name: other, faults, damagedCount } of report.damagedPacks) {
        if (other === name) continue;
        expect(faults.join()).toContain("of its blobs are damaged");
        expect(damagedCount).toBeGreaterThan(0);
      }
      expect(report.errors.some(({ object }) => object === name)).toBe(true);
    }
  });

  test("a flipped blob hurts exactly the files that hold it", async () => {
    const [name] = await packsOf("data");
    const hurt = sound.copy();
    hurt.damage(
      "data",
      name!,
      flipAt(() => 130),
    );
    const report = await checked(hurt, all);
    expect(report.damagedPacks[0]).toMatchObject({ name, damagedCount: 1, lostCount: 1 });
    expect(report.hurtPaths.every(({ lostChunks }) => lostChunks === 1)).toBe(true);
    const paths = new Set(report.hurtPaths.map(({ path }) => path));
    expect(paths.size).toBe(1);
    expect(report.hurtPaths.some(({ path }) => path.endsWith("keep.txt"))).toBe(
      [...paths][0]!.endsWith("keep.txt"),
    );
  });

  test("tells a forgotten snapshot from one that vanished", async () => {
    const repository = await lab.openOn(sound.copy(), fullKey);
    const names = await lab.names("snapshots");
    for (const name of names) {
      const hurt = sound.copy();
      const cache = `host of ${name}`;
      expect((await check(await lab.openOn(hurt, fullKey, cache))).errorCount).toBe(0);
      await hurt.delete("snapshots", name);
      const { errors } = await check(await lab.openOn(hurt, fullKey, cache));
      expect(errors.map(({ kind, object }) => [kind, object])).toEqual([["chain", name]]);
    }
    await repository.storage.close();
  });

  test("all parts of n/t together read every pack once", async () => {
    const read: number[] = [];
    for (const part of [1, 2, 3])
      read.push(
        (await checked(sound.copy(), { readData: { kind: "part", part, of: 3 } })).packsRead,
      );
    const { packCount } = await checked(sound.copy());
    expect(read.reduce((sum, count) => sum + count)).toBe(packCount);
  });

  test("a share, asked for again and again, comes to every pack", async () => {
    const storage = sound.copy();
    const { packCount } = await checked(storage);
    const [name] = await packsOf("tree");
    storage.damage(
      "data",
      name!,
      flipAt(() => 130),
    );
    let found = 0;
    for (let round = 0; round < packCount; round++) {
      const repository = await lab.openOn(storage, fullKey, "rounds");
      const report = await check(repository, { readData: { kind: "share", share: 0.01 } });
      found += report.errors.some(({ object }) => object === name) ? 1 : 0;
      if (report.packsRead === 0) break;
    }
    expect(found).toBeGreaterThan(0);
  });

  test("packs in no index object are counted, and no damage", async () => {
    const storage = sound.copy();
    const [name] = await lab.names("index");
    const before = await checked(sound.copy());
    await storage.put("data", "ab".repeat(32), [new Uint8Array(64)]);
    const report = await checked(storage);
    expect(report).toMatchObject({
      errorCount: 0,
      unindexedPackCount: before.unindexedPackCount + 1,
    });
    expect(name).toBeDefined();
  });
});
