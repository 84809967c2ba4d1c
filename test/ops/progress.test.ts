/** What is told of a backup while it runs. */
import { writeFileSync } from "node:fs";
import { expect, test } from "vitest";
import { backup, openStorage, Repository } from "../../src/repo/index.ts";
import { InterruptedStorage } from "../collector/mixing-storage.ts";
import { credential, TestPlace } from "../support/test-place.ts";

test("is told anew while nothing is read, and no more when the run has ended", async () => {
  await using place = await TestPlace.create("progress");
  writeFileSync(place.path("source", "file"), "content");
  const timers = new Set<() => void>();
  const base = place.environment();
  const every = (_: number, act: () => void): (() => void) => {
    timers.add(act);
    return () => timers.delete(act);
  };
  let told = 0;
  let toldWhileSending = 0;
  const storage = await openStorage(place.path("repo"));
  const slow = new InterruptedStorage(storage, "data", async () => {
    const before = told;
    for (const act of [...timers]) act();
    toldWhileSending = told - before;
    return Promise.resolve();
  });
  await using repository = await Repository.open(slow, credential, {
    ...base,
    clock: { ...base.clock, every },
  });
  const options = { paths: [place.path("source")], cwd: place.folder };
  await backup(repository, options, { onProgress: () => told++ });
  expect(toldWhileSending).toBe(1);
  expect(timers.size).toBe(0);
});
