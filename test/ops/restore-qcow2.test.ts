/** A disk of a snapshot comes back as a qcow2 file, whatever held it before. */
import { spawn } from "node:child_process";
import { chmodSync, existsSync, readFileSync, statSync, symlinkSync, truncateSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import { beforeEach, expect, test } from "vitest";
import { AbortedError } from "../../src/errors.ts";
import { hasQemuImg, qemuImg, qemuIo } from "../image/qcow2/qemu-img.ts";
import { withLoopDevice } from "../support/loop-device.ts";
import { requires } from "../support/requires.ts";
import { TestPlace } from "../support/test-place.ts";
import { mib, noise, overwriteAt, runRestore, writeImage } from "./restore-support.ts";

beforeEach((context) => {
  requires(context, hasQemuImg, "qemu-img is not installed");
});

function asQcow2(place: TestPlace, snapshot: string, name = "restored.qcow2") {
  const target = { kind: "file", path: place.path(name) } as const;
  return { snapshot, target, format: "qcow2" } as const;
}

/** 20 MiB and a sector, with data at both ends and across clusters. */
function makeRaw(place: TestPlace): string {
  const path = place.path("source", "disk.raw");
  writeImage(path, 20 * mib + 512, [
    { offset: 4096, bytes: noise("boot", 60_000) },
    { offset: 7 * mib - 1234, bytes: noise("middle", 2 * mib) },
    { offset: 20 * mib, bytes: noise("end", 512) },
  ]);
  return path;
}

function expectSameDisk(before: string, after: string, format = "raw"): void {
  qemuImg("check", "-q", after);
  qemuImg("compare", "-q", "-f", format, "-F", "qcow2", before, after);
}

interface Info {
  readonly "virtual-size": number;
  readonly "cluster-size": number;
  readonly "format-specific": { readonly data: Readonly<Record<string, unknown>> };
}

function info(path: string): Info {
  return JSON.parse(qemuImg("info", "--output=json", path)) as Info;
}

test("a raw disk as QEMU's usual qcow2, read back", async () => {
  await using place = await TestPlace.create();
  const raw = makeRaw(place);
  const snapshot = await place.backup([raw], { images: ["*.raw"] });
  const summary = await runRestore(place, { ...asQcow2(place, snapshot), verify: true });
  expect(summary).toMatchObject({ filesRestored: 1, bytesTotal: 20 * mib + 512, warnings: [] });
  const path = place.path("restored.qcow2");
  expectSameDisk(raw, path);
  expect(info(path)).toMatchObject({ "virtual-size": 20 * mib + 512, "cluster-size": 65_536 });
  expect(statSync(path).size).toBeLessThan(4 * mib);
});

test.each([
  "compat=0.10,cluster_size=512",
  "compat=0.10",
  "cluster_size=4096,lazy_refcounts=on",
  "cluster_size=2M",
  "extended_l2=on,cluster_size=128k",
  "compression_type=zstd",
])("a qcow2 file comes back as it was: %s", async (options) => {
  await using place = await TestPlace.create();
  const disk = place.path("disk.qcow2");
  qemuImg("convert", "-O", "qcow2", "-o", options, makeRaw(place), disk);
  const snapshot = await place.backup([disk]);
  await runRestore(place, asQcow2(place, snapshot));
  const path = place.path("restored.qcow2");
  expectSameDisk(disk, path, "qcow2");
  const [was, is] = [info(disk), info(path)];
  const kept = ["compat", "lazy-refcounts", "compression-type", "extended-l2", "refcount-bits"];
  for (const name of kept)
    expect(is["format-specific"].data[name]).toEqual(was["format-specific"].data[name]);
  expect([is["virtual-size"], is["cluster-size"]]).toEqual([
    was["virtual-size"],
    was["cluster-size"],
  ]);
});

test("without --format a disk is raw, and what it was is told", async () => {
  await using place = await TestPlace.create();
  const raw = makeRaw(place);
  const disk = place.path("disk.qcow2");
  qemuImg("convert", "-O", "qcow2", raw, disk);
  const snapshot = await place.backup([disk]);
  const target = { kind: "file", path: place.path("again.raw") } as const;
  const { warnings } = await runRestore(place, { snapshot, target });
  expect(readFileSync(place.path("again.raw")).equals(readFileSync(raw))).toBe(true);
  expect(warnings.join("\n")).toContain("--format qcow2");
  expect(await runRestore(place, { snapshot, target, format: "raw" })).toMatchObject({
    warnings: [],
  });
});

test("a disk of 16 TiB with a few bytes, and an empty one", async () => {
  await using place = await TestPlace.create();
  const disk = place.path("huge.qcow2");
  qemuImg("create", "-q", "-f", "qcow2", disk, "16T");
  qemuIo(disk, ["write -P 7 15T 4k", "write -P 8 3M 70k"]);
  await runRestore(place, asQcow2(place, await place.backup([disk])));
  expectSameDisk(disk, place.path("restored.qcow2"), "qcow2");
  const empty = place.path("empty.raw");
  writeImage(empty, 0, []);
  const snapshot = await place.backup([empty], { images: ["*.raw"] });
  await runRestore(place, asQcow2(place, snapshot, "empty.qcow2"));
  expect(info(place.path("empty.qcow2"))["virtual-size"]).toBe(0);
  qemuImg("check", "-q", place.path("empty.qcow2"));
});

test("a disk that ends within a sector ends with it, and that is told", async () => {
  await using place = await TestPlace.create();
  const raw = place.path("source", "odd.raw");
  writeImage(raw, mib + 700, [{ offset: mib, bytes: noise("odd", 700) }]);
  const snapshot = await place.backup([raw], { images: ["*.raw"] });
  const { warnings } = await runRestore(place, asQcow2(place, snapshot));
  expect(warnings.join()).toContain("it ends with 324 zeros more");
  expect(info(place.path("restored.qcow2"))["virtual-size"]).toBe(mib + 1024);
  truncateSync(raw, mib + 1024);
  expectSameDisk(raw, place.path("restored.qcow2"));
});

test("a restore that was interrupted goes on where it stopped", async () => {
  await using place = await TestPlace.create();
  const disk = place.path("source", "disk.raw");
  const size = 100 * mib + 512;
  writeImage(disk, size, [
    { offset: 10 * mib + 4096, bytes: noise("much", 60 * mib) },
    { offset: 100 * mib, bytes: noise("end", 512) },
  ]);
  const snapshot = await place.backup([disk], { images: ["*.raw"] });
  const controller = new AbortController();
  const stopped = runRestore(place, asQcow2(place, snapshot), {
    signal: controller.signal,
    onProgress: ({ bytesDone }) => {
      if (bytesDone > 50 * mib) controller.abort(new AbortedError());
    },
  });
  await expect(stopped).rejects.toThrow(AbortedError);
  const partial = place.path("restored.qcow2.ashlar-partial");
  expect(existsSync(place.path("restored.qcow2"))).toBe(false);
  // What a crash may leave: dirt where zeros belong, and tables half-written.
  overwriteAt(partial, { offset: 0, bytes: noise("torn", 70_000) });
  overwriteAt(partial, { offset: statSync(partial).size - 30_000, bytes: noise("dirt", 30_000) });
  const summary = await runRestore(place, asQcow2(place, snapshot));
  expectSameDisk(disk, place.path("restored.qcow2"));
  expect(summary.bytesSkipped).toBeGreaterThan(5 * mib);
  expect(summary.bytesWritten + summary.bytesSkipped).toBe(60 * mib + 512);
  // Nothing comes to light behind the disk's end either.
  truncateSync(disk, size + mib);
  qemuImg("resize", "-q", place.path("restored.qcow2"), String(size + mib));
  expectSameDisk(disk, place.path("restored.qcow2"));
  expect(existsSync(partial)).toBe(false);
});

test("a file that stands there is replaced when the new one is whole, and keeps its mode", async () => {
  await using place = await TestPlace.create();
  const raw = makeRaw(place);
  const snapshot = await place.backup([raw], { images: ["*.raw"] });
  const old = place.path("old.qcow2");
  qemuImg("create", "-q", "-f", "qcow2", old, "1M");
  chmodSync(old, 0o640);
  symlinkSync(old, place.path("link.qcow2"));
  const before = readFileSync(old);
  const options = asQcow2(place, snapshot, "link.qcow2");
  const controller = new AbortController();
  const onProgress = (): void => {
    controller.abort(new AbortedError());
  };
  const stopped = runRestore(place, options, { signal: controller.signal, onProgress });
  await expect(stopped).rejects.toThrow(AbortedError);
  expect(readFileSync(old).equals(before)).toBe(true);
  await expect(runRestore(place, { ...options, overwrite: "never" })).rejects.toThrow("it exists");
  await runRestore(place, options);
  expectSameDisk(raw, old);
  expect(statSync(old).mode & 0o777).toBe(0o640);
  const again = await runRestore(place, { ...options, overwrite: "if-changed" });
  expect(again).toMatchObject({ filesSkipped: 1, bytesWritten: 0 });
});

test("a file that a machine has open is refused", async () => {
  await using place = await TestPlace.create();
  const snapshot = await place.backup([makeRaw(place)], { images: ["*.raw"] });
  const old = place.path("old.qcow2");
  qemuImg("create", "-q", "-f", "qcow2", old, "1M");
  const machine = spawn("qemu-io", ["-f", "qcow2", old], { stdio: ["pipe", "pipe", "ignore"] });
  try {
    machine.stdin.write("write 0 4k\n");
    await new Promise((resolve) => machine.stdout.once("data", resolve));
    await setTimeout(50);
    const refused = runRestore(place, asQcow2(place, snapshot, "old.qcow2"));
    await expect(refused).rejects.toThrow("another program has locked it");
  } finally {
    machine.kill();
  }
});

test("a block device, and what is no disk, are refused with the reason", async (context) => {
  await using place = await TestPlace.create();
  const raw = makeRaw(place);
  const snapshot = await place.backup([raw], { images: ["*.raw"] });
  await withLoopDevice(context, 48 * mib, async (device) => {
    const target = { kind: "file", path: device } as const;
    const refused = runRestore(place, { ...asQcow2(place, snapshot), target });
    await expect(refused).rejects.toThrow("a machine reads a block device as a raw disk");
  });
  const stream = await place.backup([raw], { noImages: ["*"] });
  await expect(runRestore(place, { ...asQcow2(place, stream), path: raw })).rejects.toThrow(
    "it was kept as a file, not as a disk",
  );
  await expect(runRestore(place, asQcow2(place, stream))).rejects.toThrow(
    "the snapshot holds no disk",
  );
});

test("a lost chunk costs its place in the disk, and the file does not look finished", async () => {
  await using place = await TestPlace.create();
  const raw = makeRaw(place);
  const snapshot = await place.backup([raw], { images: ["*.raw"] });
  const repository = await place.repository();
  let largest = { name: "", size: 0 };
  for await (const { name, size } of repository.storage.list("data"))
    if (size > largest.size) largest = { name, size };
  const pack = place.path("repo", "data", largest.name.slice(0, 2), largest.name);
  chmodSync(pack, 0o600);
  overwriteAt(pack, { offset: 300_000, bytes: noise("damage", 16) });
  const summary = await runRestore(place, asQcow2(place, snapshot));
  expect(summary).toMatchObject({ damagedCount: 1, filesRestored: 0 });
  expect(existsSync(place.path("restored.qcow2"))).toBe(false);
  const partial = place.path("restored.qcow2.ashlar-partial");
  qemuImg("check", "-q", "-f", "qcow2", partial);
  qemuImg("convert", "-f", "qcow2", "-O", "raw", partial, place.path("partial.raw"));
  const [expected, found] = [readFileSync(raw), readFileSync(place.path("partial.raw"))];
  let differing = 0;
  for (let at = 0; at < expected.length; at += 4096)
    if (!found.subarray(at, at + 4096).equals(expected.subarray(at, at + 4096))) differing++;
  expect(differing).toBeGreaterThan(0);
  expect(differing).toBeLessThanOrEqual(64);
});

test("in a tree, what was a qcow2 file is one again, also over another night's; a raw disk stays raw", async () => {
  await using place = await TestPlace.create();
  const raw = makeRaw(place);
  const disk = place.path("source", "disk.qcow2");
  qemuImg("convert", "-O", "qcow2", "-o", "cluster_size=4096", raw, disk);
  const snapshot = await place.backup([raw, disk]);
  const path = place.path("restored");
  const options = { snapshot, target: { kind: "directory", path }, format: "qcow2" } as const;
  const all = { ...options, path: place.path("source"), verify: true };
  const summary = await runRestore(place, all);
  expect(summary).toMatchObject({ filesRestored: 2, warnings: [] });
  const back = place.path("restored", "disk.qcow2");
  expectSameDisk(disk, back, "qcow2");
  expect(info(back)).toMatchObject({ "cluster-size": 4096 });
  expect(readFileSync(place.path("restored", "disk.raw")).equals(readFileSync(raw))).toBe(true);

  qemuIo(back, ["write -P 7 1M 8M", "write -P 9 15M 1M"]);
  const again = await runRestore(place, all);
  expect(again.warnings).toEqual([]);
  expectSameDisk(disk, back, "qcow2");
});
