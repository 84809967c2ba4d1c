/** I7: two runs of the same backup add no chunk, whatever a host remembers of the first. */
import { copyFileSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { expect, test } from "vitest";
import { backup, type BackupOptions } from "../../src/repo/index.ts";
import { kib, mib, noise, writeImage } from "../ops/restore-support.ts";
import { TestPlace } from "../support/test-place.ts";

/** Bytes of each kind of source: an image with holes, a long stream, small files. */
function writeSource(place: TestPlace): void {
  writeImage(place.path("source/disk.img"), 12 * mib, [
    { offset: 0, bytes: noise("head", 300 * kib) },
    { offset: 5 * mib + 4096, bytes: noise("body", 3 * mib + 77) },
  ]);
  writeFileSync(place.path("source/stream"), noise("stream", 3 * mib));
  mkdirSync(place.path("source/tree"));
  for (let file = 0; file < 20; file++)
    writeFileSync(place.path(`source/tree/${file}`), noise(`file ${file}`, file * 997));
}

test("neither an ordinary second run nor one that reads all again adds a chunk", async () => {
  await using place = await TestPlace.create();
  writeSource(place);
  const run = async (options: Partial<BackupOptions> = {}) => {
    const repository = await place.repository();
    const paths = ["source"];
    return backup(repository, { paths, cwd: place.folder, images: ["**/*.img"], ...options });
  };
  const first = await run();
  expect(first.chunksNew).toBeGreaterThan(60);
  const again = await run();
  expect(again).toMatchObject({ chunksNew: 0, bytesNew: 0, bytesRead: 0 });
  expect(await run({ force: true })).toMatchObject({ chunksNew: 0, bytesNew: 0 });
  // Another host, another parent, nothing remembered: the chunks are the same still.
  rmSync(place.path("cache"), { recursive: true });
  const elsewhere = await run({ hostname: "another", force: true });
  expect(elsewhere).toMatchObject({ chunksNew: 0, bytesNew: 0 });
  expect(elsewhere.bytesRead).toBeGreaterThan(6 * mib);
  // Under another name, too.
  copyFileSync(place.path("source/disk.img"), place.path("source/copy.img"));
  expect(await run()).toMatchObject({ chunksNew: 0, bytesNew: 0, filesNew: 1 });
});
