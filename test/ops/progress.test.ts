/** What is told of a run that sends while nothing is read. */
import { writeFileSync } from "node:fs";
import { expect, test } from "vitest";
import { backup, copySnapshots, openStorage, Repository } from "../../src/repo/index.ts";
import { InterruptedStorage } from "../collector/mixing-storage.ts";
import { credential, TestPlace } from "../support/test-place.ts";

/** A repository whose first pack takes a second to send. */
async function slowRepository(place: TestPlace, told: () => number) {
  const timers = new Set<() => void>();
  const base = place.environment();
  const every = (_: number, act: () => void): (() => void) => {
    timers.add(act);
    return () => timers.delete(act);
  };
  let toldWhileSending = 0;
  const storage = await openStorage(place.path("repo"));
  const slow = new InterruptedStorage(storage, "data", () => {
    const before = told();
    for (const act of [...timers]) act();
    toldWhileSending = told() - before;
    return Promise.resolve();
  });
  const clock = { ...base.clock, every };
  const repository = await Repository.open(slow, credential, { ...base, clock });
  return { repository, timers, toldWhileSending: () => toldWhileSending };
}

test("a backup is told anew while nothing is read, and no more when it has ended", async () => {
  await using place = await TestPlace.create("progress");
  writeFileSync(place.path("source", "file"), "content");
  let told = 0;
  const { repository, timers, toldWhileSending } = await slowRepository(place, () => told);
  const options = { paths: [place.path("source")], cwd: place.folder };
  await backup(repository, options, { onProgress: () => told++ });
  await repository.close();
  expect(toldWhileSending()).toBe(1);
  expect(timers.size).toBe(0);
});

test("so is a copy", async () => {
  await using from = await TestPlace.create("from");
  await using place = await TestPlace.create("progress");
  writeFileSync(from.path("source", "file"), "content");
  await from.backup([from.path("source")]);
  let told = 0;
  const { repository, timers, toldWhileSending } = await slowRepository(place, () => told);
  await copySnapshots(await from.repository(), repository, {}, { onProgress: () => told++ });
  await repository.close();
  expect(toldWhileSending()).toBe(1);
  expect(timers.size).toBe(0);
});
