import {
  rmSync,
  writeFileSync,
  readFileSync,
  mkdirSync,
  symlinkSync,
  utimesSync,
  chmodSync,
} from "node:fs";
import { expect, test } from "vitest";
import {
  diffSnapshots,
  dump,
  findEntries,
  type FindOptions,
  inspectBlob,
  inspectConfig,
  inspectIndex,
  inspectTree,
  listEntries,
  type Repository,
  resolveSnapshot,
} from "../../src/repo/index.ts";
import { fromHex } from "../../src/bytes.ts";
import { TestPlace } from "../support/test-place.ts";
import { kib, mib, noise, overwriteAt, writeImage } from "./restore-support.ts";

async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

async function readAll(parts: AsyncIterable<Uint8Array>): Promise<Buffer> {
  return Buffer.concat((await collect(parts)).map((part) => Buffer.from(part)));
}

async function changesBetween(place: TestPlace, ids: readonly [string, string], metadata = false) {
  const repository = await place.repository();
  const [before, after] = await Promise.all(ids.map((id) => resolveSnapshot(repository, id)));
  return collect(diffSnapshots(repository, before!, after!, { metadata }));
}

test("ls lists parents before children and tells images, with their data, from streams", async () => {
  await using place = await TestPlace.create();
  const source = place.path("source");
  mkdirSync(`${source}/dir`);
  writeFileSync(`${source}/dir/file`, "text");
  writeImage(`${source}/disk.raw`, 30 * mib, [{ offset: mib, bytes: noise("disk", 4 * mib) }]);
  const id = await place.backup([source], { images: ["*.raw"] });
  const repository = await place.repository();
  const snapshot = await resolveSnapshot(repository, id);
  const list = await collect(listEntries(repository, snapshot, { path: source, withDisks: true }));
  expect(list.map((entry) => [entry.path, entry.contentKind, entry.allocatedBytes])).toEqual([
    [`${source}/dir`, undefined, undefined],
    [`${source}/dir/file`, "stream", undefined],
    [`${source}/disk.raw`, "image", 4 * mib],
  ]);
  const one = await collect(listEntries(repository, snapshot, { path: `${source}/dir/file` }));
  expect(one.map(({ path }) => path)).toEqual([`${source}/dir/file`]);
  await expect(collect(listEntries(repository, snapshot, { path: "/no" }))).rejects.toThrow(
    "has no such path",
  );
});

test("find names what matches, and below a directory that matches only what does so itself", async () => {
  await using place = await TestPlace.create();
  const source = place.path("source");
  mkdirSync(`${source}/logs/deep/logs`, { recursive: true });
  for (const name of ["logs/a.txt", "logs/deep/B.TXT", "c.md"])
    writeFileSync(`${source}/${name}`, "");
  utimesSync(`${source}/logs/a.txt`, 1e9, 1e9);
  const id = await place.backup([source]);
  const repository = await place.repository();
  const snapshot = await resolveSnapshot(repository, id);
  const find = async (options: FindOptions): Promise<string[]> =>
    (await collect(findEntries(repository, snapshot, options))).map(({ path }) =>
      path.slice(source.length + 1),
    );
  expect(await find({ patterns: ["logs"] })).toEqual(["logs", "logs/deep/logs"]);
  expect(await find({ patterns: ["*.txt"] })).toEqual(["logs/a.txt"]);
  expect(await find({ patterns: ["*.txt"], ignoreCase: true })).toEqual([
    "logs/a.txt",
    "logs/deep/B.TXT",
  ]);
  expect(await find({ patterns: [`${source}/c.*`, "deep/logs"] })).toEqual([
    "c.md",
    "logs/deep/logs",
  ]);
  const atNs = 10n ** 18n;
  expect(await find({ patterns: ["*"], newestNs: atNs })).toEqual(["logs/a.txt"]);
  expect(await find({ patterns: ["a.txt"], oldestNs: atNs + 1n })).toEqual([]);
});

test("diff tells added, removed, modified, of another type, and with metadata what only looks otherwise", async () => {
  await using place = await TestPlace.create();
  const source = place.path("source");
  mkdirSync(`${source}/gone/below`, { recursive: true });
  for (const name of ["same", "changed", "moded", "typed", "gone/below/file"])
    writeFileSync(`${source}/${name}`, name);
  const first = await place.backup([source]);
  rmSync(`${source}/gone`, { recursive: true });
  rmSync(`${source}/typed`);
  symlinkSync("same", `${source}/typed`);
  writeFileSync(`${source}/changed`, "CHANGED");
  chmodSync(`${source}/moded`, 0o600);
  mkdirSync(`${source}/new`);
  writeFileSync(`${source}/new/file`, "new");
  const second = await place.backup([source]);
  const brief = async (metadata: boolean): Promise<string[]> =>
    (await changesBetween(place, [first, second], metadata))
      .filter(({ path }) => path.startsWith(`${source}/`))
      .map(({ kind, path }) => `${kind} ${path.slice(source.length + 1)}`);
  const expected = [
    "modified changed",
    "removed gone",
    "removed gone/below",
    "removed gone/below/file",
    "added new",
    "added new/file",
    "type typed",
  ];
  expect(await brief(false)).toEqual(expected);
  expect(await brief(true)).toEqual([
    ...expected.slice(0, 4),
    "metadata moded",
    ...expected.slice(4),
  ]);
  expect(await changesBetween(place, [first, first], true)).toEqual([]);
});

test("diff of an image gives the ranges that changed, merged, and little around them", async () => {
  await using place = await TestPlace.create();
  const disk = place.path("source", "disk.raw");
  writeImage(disk, 600 * mib, [
    { offset: 0, bytes: noise("one", 8 * mib) },
    { offset: 100 * mib, bytes: noise("two", 4 * mib) },
    { offset: 560 * mib, bytes: noise("three", 4 * mib) },
  ]);
  const first = await place.backup([disk], { images: ["*.raw"] });
  overwriteAt(disk, { offset: 5 * mib, bytes: noise("changed", 4 * kib) });
  overwriteAt(disk, { offset: 300 * mib, bytes: noise("in a hole", mib) });
  const second = await place.backup([disk], { images: ["*.raw"] });
  const [change, ...others] = (await changesBetween(place, [first, second])).filter(
    ({ path }) => path === disk,
  );
  expect(others).toEqual([]);
  expect(change?.kind).toBe("modified");
  const [small, large, ...more] = change!.image!.ranges;
  expect(more).toEqual([]);
  expect(small!.offset).toBeLessThanOrEqual(5 * mib);
  expect(small!.offset + small!.length).toBeGreaterThanOrEqual(5 * mib + 4 * kib);
  expect(small!.length).toBeLessThanOrEqual(mib);
  expect(large).toEqual({ offset: 300 * mib, length: mib });
  expect(change!.image).toMatchObject({ allocatedGrowth: mib, isTableChanged: false });
});

test("diff of an image that grew or shrank counts what only one has, whatever the heights of the maps", async () => {
  await using place = await TestPlace.create();
  const disk = place.path("source", "disk.raw");
  const data = { offset: 0, bytes: noise("kept", 3 * mib) };
  const sizes = [3 * mib, 40 * mib, 900 * mib];
  const snapshots: string[] = [];
  for (const size of sizes) {
    writeImage(disk, size, [data]);
    snapshots.push(await place.backup([disk], { images: ["*.raw"] }));
  }
  const rangesOf = async (from: number, to: number) =>
    (await changesBetween(place, [snapshots[from]!, snapshots[to]!])).find(
      ({ path }) => path === disk,
    )?.image?.ranges;
  for (const [from, to] of [
    [0, 1],
    [0, 2],
    [1, 2],
    [2, 0],
    [2, 1],
  ] as const) {
    const [low, high] = [Math.min(sizes[from]!, sizes[to]!), Math.max(sizes[from]!, sizes[to]!)];
    expect(await rangesOf(from, to)).toEqual([{ offset: low, length: high - low }]);
  }
});

test("diff of an unchanged image in a changed directory reads no node of its map", async () => {
  await using place = await TestPlace.create();
  const source = place.path("source");
  writeImage(`${source}/disk.raw`, 900 * mib, [{ offset: mib, bytes: noise("idle", mib) }]);
  const first = await place.backup([source], { images: ["*.raw"] });
  writeFileSync(`${source}/other`, "new");
  const second = await place.backup([source], { images: ["*.raw"] });
  const repository = await place.repository();
  const reads = await countTreeReads(repository);
  const before = await resolveSnapshot(repository, first);
  const after = await resolveSnapshot(repository, second);
  const changes = await collect(diffSnapshots(repository, before, after));
  expect(changes.map(({ path }) => path)).toEqual([`${source}/other`]);
  // The directories from the root down, of both snapshots.
  expect(reads()).toBeLessThanOrEqual(2 * source.split("/").length);
});

async function countTreeReads(repository: Repository): Promise<() => number> {
  const reader = await repository.reader();
  const readTree = reader.readTree.bind(reader);
  let count = 0;
  reader.readTree = (id) => {
    count++;
    return readTree(id);
  };
  return () => count;
}

test("dump gives a file and an image byte for byte, holes as zeros, and refuses a directory", async () => {
  await using place = await TestPlace.create();
  const source = place.path("source");
  writeFileSync(`${source}/file`, noise("file", 2 * mib + 17));
  writeImage(`${source}/disk.raw`, 20 * mib + 513, [
    { offset: 3 * mib, bytes: noise("disk", 5 * mib) },
  ]);
  writeFileSync(`${source}/empty`, "");
  const id = await place.backup([source], { images: ["*.raw"] });
  const repository = await place.repository();
  const snapshot = await resolveSnapshot(repository, id);
  for (const name of ["file", "disk.raw", "empty"]) {
    const dumped = await readAll(dump(repository, snapshot, `${source}/${name}`));
    expect(dumped.equals(readFileSync(`${source}/${name}`))).toBe(true);
  }
  await expect(readAll(dump(repository, snapshot, source))).rejects.toThrow("it is a dir");
});

test("a dump that nobody reads to its end stops without a fault", async () => {
  await using place = await TestPlace.create();
  const file = place.path("source", "file");
  writeFileSync(file, noise("file", 3 * mib));
  const repository = await place.repository();
  const snapshot = await resolveSnapshot(repository, await place.backup([file]));
  for await (const part of dump(repository, snapshot, file)) {
    expect(part.length).toBeGreaterThan(0);
    break;
  }
  expect(place.warnings).toEqual([]);
});

test("cat decodes config, trees, blobs and index objects", async () => {
  await using place = await TestPlace.create();
  const file = place.path("source", "file");
  writeFileSync(file, "some text");
  const repository = await place.repository();
  const snapshot = await resolveSnapshot(repository, await place.backup([file]));
  expect(await inspectConfig(repository)).toMatchObject({ id: repository.idHex, features: [] });
  const tree = await inspectTree(repository, fromHex(snapshot.tree));
  expect(tree).toMatchObject({ type: "directory", entries: [{ name: file.split("/")[1] }] });
  const [entry] = await collect(listEntries(repository, snapshot, { path: file }));
  const { content } = entry!.entry;
  if (content?.kind !== "chunks") throw new Error("a small file has chunks");
  const blob = await inspectBlob(repository, content.chunks[0]!.id!);
  expect(Buffer.from(blob).toString()).toBe("some text");
  const names: string[] = [];
  for await (const { name } of repository.storage.list("index")) names.push(name);
  const index = await inspectIndex(repository, names[0]!.slice(0, 10));
  expect(index).toMatchObject({ name: names[0], writer: repository.writer.writerId });
});
