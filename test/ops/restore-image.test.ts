import { execFileSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { expect, test } from "vitest";
import { AbortedError } from "../../src/errors.ts";
import { withLoopDevice } from "../support/loop-device.ts";
import { TestPlace } from "../support/test-place.ts";
import {
  allocatedBytes,
  expectSameBytes,
  kib,
  mib,
  noise,
  overwriteAt,
  runRestore,
  writeImage,
} from "./restore-support.ts";

/** 40 MiB of disk, 6 MiB of it data in three places. */
function makeDisk(path: string): void {
  writeImage(path, 40 * mib, [
    { offset: 0, bytes: noise("boot", 64 * kib) },
    { offset: 5 * mib, bytes: noise("middle", 4 * mib) },
    { offset: 38 * mib, bytes: noise("end", 2 * mib - 64 * kib) },
  ]);
}

async function backUpDisk(place: TestPlace): Promise<{ disk: string; snapshot: string }> {
  const disk = place.path("source", "disk.raw");
  makeDisk(disk);
  return { disk, snapshot: await place.backup([disk], { images: ["*.raw"] }) };
}

function toFile(place: TestPlace, snapshot: string, name = "restored.raw") {
  const target = { kind: "file", path: place.path(name) } as const;
  return { snapshot, path: place.path("source", "disk.raw"), target };
}

test("an image comes back equal and as sparse as it was", async () => {
  await using place = await TestPlace.create();
  const { disk, snapshot } = await backUpDisk(place);
  const summary = await runRestore(place, toFile(place, snapshot));
  expectSameBytes(place.path("restored.raw"), disk);
  expect(allocatedBytes(place.path("restored.raw"))).toBeLessThanOrEqual(allocatedBytes(disk));
  expect(summary).toMatchObject({
    filesRestored: 1,
    bytesRestored: 40 * mib,
    bytesWritten: 6 * mib,
    bytesSkipped: 0,
    damagedCount: 0,
    warnings: [],
  });
  expect(existsSync(place.path("restored.raw.ashlar-partial"))).toBe(false);
});

test.each([0, 1, 4095, 4 * mib + 1, 5 * mib + 513])(
  "an image of %i bytes comes back with exactly that size",
  async (size) => {
    await using place = await TestPlace.create();
    const disk = place.path("source", "disk.raw");
    writeFileSync(disk, noise("odd", size));
    const snapshot = await place.backup([disk], { images: ["*.raw"] });
    await runRestore(place, { ...toFile(place, snapshot), verify: true });
    expectSameBytes(place.path("restored.raw"), disk);
  },
);

test("over an image that has changed only what differs is written", async () => {
  await using place = await TestPlace.create();
  const { disk, snapshot } = await backUpDisk(place);
  await runRestore(place, toFile(place, snapshot));
  const target = place.path("restored.raw");
  overwriteAt(target, { offset: 6 * mib, bytes: noise("changed", 4 * kib) });
  overwriteAt(target, { offset: 20 * mib, bytes: noise("in a hole", 256 * kib) });
  const summary = await runRestore(place, toFile(place, snapshot));
  expectSameBytes(target, disk);
  // One chunk of at most 256 KiB held the changed block.
  expect(summary.bytesWritten).toBeGreaterThan(0);
  expect(summary.bytesWritten).toBeLessThanOrEqual(256 * kib);
  expect(summary.bytesSkipped).toBe(6 * mib - summary.bytesWritten);
  expect(allocatedBytes(target)).toBeLessThanOrEqual(allocatedBytes(disk));
});

test("over a longer or a shorter file the image gets its own size", async () => {
  await using place = await TestPlace.create();
  const { disk, snapshot } = await backUpDisk(place);
  writeFileSync(place.path("longer.raw"), noise("longer", 41 * mib));
  writeFileSync(place.path("shorter.raw"), noise("shorter", 3 * mib));
  for (const name of ["longer.raw", "shorter.raw"]) {
    await runRestore(place, { ...toFile(place, snapshot, name), verify: true });
    expectSameBytes(place.path(name), disk);
  }
});

test("a restore that was interrupted goes on where it stopped", async () => {
  await using place = await TestPlace.create();
  const disk = place.path("source", "disk.raw");
  // More than is in flight at a time.
  writeImage(disk, 100 * mib, [{ offset: 10 * mib, bytes: noise("much", 60 * mib) }]);
  const snapshot = await place.backup([disk], { images: ["*.raw"] });
  const controller = new AbortController();
  const stopped = runRestore(place, toFile(place, snapshot), {
    signal: controller.signal,
    onProgress: ({ bytesDone }) => {
      if (bytesDone > 50 * mib) controller.abort(new AbortedError());
    },
  });
  await expect(stopped).rejects.toThrow(AbortedError);
  expect(existsSync(place.path("restored.raw"))).toBe(false);
  expect(existsSync(place.path("restored.raw.ashlar-partial"))).toBe(true);
  const summary = await runRestore(place, toFile(place, snapshot));
  expectSameBytes(place.path("restored.raw"), disk);
  expect(summary.bytesSkipped).toBeGreaterThan(5 * mib);
  expect(summary.bytesWritten + summary.bytesSkipped).toBe(60 * mib);
});

test("an image that is complete by size and time is left with if-changed, never is refused", async () => {
  await using place = await TestPlace.create();
  const { snapshot, disk } = await backUpDisk(place);
  await runRestore(place, toFile(place, snapshot));
  expect(statSync(place.path("restored.raw"), { bigint: true }).mtimeNs).toBe(
    statSync(disk, { bigint: true }).mtimeNs,
  );
  const again = await runRestore(place, { ...toFile(place, snapshot), overwrite: "if-changed" });
  expect(again).toMatchObject({ filesRestored: 0, filesSkipped: 1, bytesWritten: 0 });
  const never = runRestore(place, { ...toFile(place, snapshot), overwrite: "never" });
  await expect(never).rejects.toThrow("it exists");
});

test("a damaged pack costs its chunks and no more, and the image does not look finished", async () => {
  await using place = await TestPlace.create();
  const { disk, snapshot } = await backUpDisk(place);
  const packs = await packPaths(place);
  const largest = packs.sort((a, b) => statSync(b).size - statSync(a).size)[0]!;
  // In the middle of the first blob or so, far from header and footer.
  overwriteAt(largest, { offset: 40 * kib, bytes: noise("damage", 16) });
  const summary = await runRestore(place, toFile(place, snapshot));
  expect(summary).toMatchObject({ damagedCount: 1, filesRestored: 0 });
  expect(summary.damaged).toEqual([place.path("restored.raw")]);
  expect(summary.warnings.join("\n")).toContain("restored.raw.ashlar-partial");
  expect(summary.warnings.join("\n")).toMatch(/at offset \d+: .*pack [0-9a-f]{64}/);
  expect(existsSync(place.path("restored.raw"))).toBe(false);
  const expected = readFileSync(disk);
  const partial = readFileSync(place.path("restored.raw.ashlar-partial"));
  expect(partial.length).toBe(expected.length);
  let differing = 0;
  for (let at = 0; at < expected.length; at += 4096)
    if (!partial.subarray(at, at + 4096).equals(expected.subarray(at, at + 4096))) differing++;
  expect(differing).toBeGreaterThan(0);
  expect(differing).toBeLessThanOrEqual(64);
});

test("a pack that is gone is named, and the rest restored", async () => {
  await using place = await TestPlace.create();
  const { snapshot } = await backUpDisk(place);
  const packs = await packPaths(place);
  const largest = packs.sort((a, b) => statSync(b).size - statSync(a).size)[0]!;
  renameSync(largest, place.path("gone"));
  const summary = await runRestore(place, toFile(place, snapshot));
  expect(summary.damagedCount).toBe(1);
  expect(summary.warnings[0]).toContain(largest.slice(-64));
});

test("an image goes to a block device, and only what differs is written again", async (context) => {
  await using place = await TestPlace.create();
  const { disk, snapshot } = await backUpDisk(place);
  await withLoopDevice(context, 48 * mib, async (device) => {
    const options = {
      ...toFile(place, snapshot),
      target: { kind: "file", path: device } as const,
      verify: true,
    };
    overwriteAt(device, { offset: 0, bytes: noise("what was there", 48 * mib) });
    await runRestore(place, options);
    const expected = readFileSync(disk);
    expect(readFileSync(device).subarray(0, expected.length).equals(expected)).toBe(true);
    const again = await runRestore(place, options);
    expect(again).toMatchObject({ bytesWritten: 0, bytesSkipped: 6 * mib });
  });
});

test("a block device that is too small is refused", async (context) => {
  await using place = await TestPlace.create();
  const { snapshot } = await backUpDisk(place);
  await withLoopDevice(context, 39 * mib, async (device) => {
    const target = { kind: "file", path: device } as const;
    const refused = runRestore(place, { ...toFile(place, snapshot), target });
    await expect(refused).rejects.toThrow(`it has ${39 * mib} bytes, the image ${40 * mib}`);
  });
});

test("a block device that is mounted is refused", async (context) => {
  await using place = await TestPlace.create();
  const { snapshot } = await backUpDisk(place);
  await withLoopDevice(context, 48 * mib, async (device) => {
    execFileSync("mkfs.ext4", ["-q", device]);
    mkdirSync(place.path("mnt"));
    execFileSync("mount", [device, place.path("mnt")]);
    try {
      const target = { kind: "file", path: device } as const;
      const refused = runRestore(place, { ...toFile(place, snapshot), target });
      await expect(refused).rejects.toThrow(`it is mounted at ${place.path("mnt")}`);
    } finally {
      execFileSync("umount", [place.path("mnt")]);
    }
  });
});

test("a directory or a missing path cannot be restored to a file", async () => {
  await using place = await TestPlace.create();
  const { snapshot } = await backUpDisk(place);
  const options = toFile(place, snapshot);
  await expect(runRestore(place, { ...options, path: place.path("source") })).rejects.toThrow(
    "the path is no file",
  );
  await expect(runRestore(place, { ...options, path: "/nowhere" })).rejects.toThrow(
    "has no such path",
  );
  expect(existsSync(options.target.path)).toBe(false);
});

test("a verify finds a target that does not keep what is written", async () => {
  await using place = await TestPlace.create();
  const { snapshot } = await backUpDisk(place);
  await runRestore(place, toFile(place, snapshot));
  const target = place.path("restored.raw");
  let isDone = false;
  const summary = await runRestore(
    place,
    { ...toFile(place, snapshot), verify: true },
    {
      onProgress: ({ bytesDone }) => {
        // All has been compared: now the disk loses a byte.
        if (bytesDone < 40 * mib || isDone) return;
        isDone = true;
        overwriteAt(target, { offset: 7 * mib, bytes: Uint8Array.of(1, 2, 3) });
      },
    },
  );
  expect(isDone).toBe(true);
  expect(summary).toMatchObject({ unequalCount: 1, filesRestored: 0 });
  truncateSync(target, 0);
});

async function packPaths(place: TestPlace): Promise<string[]> {
  const repository = await place.repository();
  const paths: string[] = [];
  for await (const { name } of repository.storage.list("data"))
    paths.push(place.path("repo", "data", name.slice(0, 2), name));
  return paths;
}
