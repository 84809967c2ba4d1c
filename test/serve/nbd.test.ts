import { execFile, spawnSync } from "node:child_process";
import { closeSync, existsSync, ftruncateSync, openSync, readFileSync, writeSync } from "node:fs";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { exportImages, listenNbd } from "../../src/serve/nbd/index.ts";
import { resolveSnapshot } from "../../src/repo/index.ts";
import { fixedRandom } from "../support/fixed-random.ts";
import { requires } from "../support/requires.ts";
import { TestPlace } from "../support/test-place.ts";

const run = promisify(execFile);
const mebibyte = 1024 * 1024;

function hasClients(): boolean {
  return ["nbdinfo", "nbdcopy", "qemu-img"].every(
    (name) => spawnSync(name, ["--version"]).error === undefined,
  );
}

/** 20 MiB and 100 bytes: data, a hole of 9 MiB, data that ends within a sector. */
function writeImage(path: string, seed: string): void {
  const fd = openSync(path, "w");
  ftruncateSync(fd, 20 * mebibyte + 100);
  writeSync(fd, fixedRandom(seed).bytes(mebibyte), 0, mebibyte, 0);
  writeSync(
    fd,
    fixedRandom("rest").bytes(10 * mebibyte + 100),
    0,
    10 * mebibyte + 100,
    10 * mebibyte,
  );
  closeSync(fd);
}

test("NBD clients read an image as it is, its holes, and what changed since another snapshot", async (context) => {
  requires(context, hasClients(), "nbdinfo, nbdcopy and qemu-img are needed");
  await using place = await TestPlace.create();
  const image = place.path("source", "disk.raw");
  writeImage(image, "first");
  const first = await place.backup([image], { images: ["*.raw"] });
  writeImage(image, "second");
  const second = await place.backup([image], { images: ["*.raw"] });
  const repository = await place.repository();
  const exports = await exportImages(repository, {
    snapshot: await resolveSnapshot(repository, second),
    since: await resolveSnapshot(repository, first),
  });
  const listener = await listenNbd(
    { socket: place.path("s") },
    {
      exports,
      find: (name) => exports.find((each) => name === "" || each.name === name),
      onFailure: (_name, error) => {
        throw error;
      },
    },
  );
  try {
    const uri = `nbd+unix:///disk.raw?socket=${place.path("s")}`;
    const list = await run("nbdinfo", ["--list", `nbd+unix:///?socket=${place.path("s")}`]);
    expect(list.stdout).toContain('export="disk.raw"');
    const map = JSON.parse((await run("nbdinfo", ["--map", "--json", uri])).stdout) as object[];
    expect(map).toMatchObject([
      { offset: 0, length: mebibyte, type: 0 },
      { offset: mebibyte, length: 9 * mebibyte, type: 3 },
      { offset: 10 * mebibyte, type: 0 },
    ]);
    const context = exports[0]!.contexts[1]!;
    const changed = await run("nbdinfo", [`--map=${context}`, "--json", uri]);
    expect(JSON.parse(changed.stdout)).toMatchObject([
      { offset: 0, length: mebibyte, type: 1 },
      { offset: mebibyte, type: 0 },
    ]);
    await run("nbdcopy", [uri, place.path("copy")]);
    await run("qemu-img", ["convert", "-f", "raw", "-O", "raw", uri, place.path("converted")]);
    await run("qemu-img", ["compare", "-f", "raw", "-F", "raw", image, uri]);
    const want = readFileSync(image);
    for (const name of ["copy", "converted"]) {
      const got = readFileSync(place.path(name));
      expect(got.subarray(0, want.length).equals(want)).toBe(true);
      expect(got.length).toBe(20 * mebibyte + 512); // whole sectors, zeros behind the end
      expect(got.subarray(want.length).every((byte) => byte === 0)).toBe(true);
    }
  } finally {
    await listener.close();
  }
  expect(existsSync(place.path("s"))).toBe(false);
});
