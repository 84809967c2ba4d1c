/** A running machine into two repositories at once: one moment, one reading, bitmaps for each. */
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { afterEach, beforeEach, expect, test } from "vitest";
import { BackendError, FailedError } from "../../src/errors.ts";
import {
  type BackupOutcome,
  type BackupSummary,
  backupTogether,
  type DiskSet,
  machineDisks,
} from "../../src/repo/index.ts";
import type { ObjectKind, Storage, StorageCall } from "../../src/storage/index.ts";
import { WrappedStorage } from "../../src/storage/wrapped.ts";
import { hasQemu, makeDisk, PausedMachine } from "../support/paused-machine.ts";
import { requires } from "../support/requires.ts";
import { TestPlace } from "../support/test-place.ts";
import { backUpMachine, contentOf, restored } from "./backup-support.ts";

type StoredPut = [name: string, parts: readonly Uint8Array[], call?: StorageCall];

const mebibyte = 1 << 20;
let near: TestPlace;
let far: TestPlace;
let disk: ReturnType<typeof makeDisk>;
beforeEach(async (context) => {
  requires(context, hasQemu, "qemu-system-x86_64 is not installed");
  near = await TestPlace.create("near");
  far = await TestPlace.create("far");
  disk = makeDisk(near.path("a.qcow2"), "qcow2", "64M", ["write -P 0x11 0 24M"]);
  mkdirSync(near.path("scratch"));
});
afterEach(async () => {
  await near[Symbol.asyncDispose]();
  await far[Symbol.asyncDispose]();
});

/**
 * @param change  what happens to the far repository's share
 * @param wrap  between it and its storage
 */
async function backUpBoth(
  machine: PausedMachine,
  change: (disks: DiskSet) => void = () => undefined,
  wrap: (storage: Storage) => Storage = (storage) => storage,
): Promise<{ outcomes: readonly BackupOutcome[]; told: string[] }> {
  const told: string[] = [];
  const warn = (text: string): void => void told.push(text);
  const repositories = [await near.repository({ warn }), await far.repository({ warn }, wrap)];
  const openDisks = async (): Promise<DiskSet[]> => {
    const options = { qmpPath: machine.qmpPath, disks: [], scratchFolder: near.path("scratch") };
    const sets = await machineDisks(repositories, options);
    change(sets[1]!);
    return sets;
  };
  const options = { paths: [], cwd: near.folder, openDisks };
  const outcomes = await backupTogether(repositories, options, () => ({ onWarning: warn }));
  return { outcomes, told };
}

function summaryOf(outcome: BackupOutcome | undefined): BackupSummary & { snapshotId: string } {
  if (outcome === undefined || "error" in outcome) throw outcome?.error;
  return { ...outcome.summary, snapshotId: outcome.summary.snapshotId! };
}

/** What QEMU has read of files, in bytes. */
function bytesRead({ pid }: PausedMachine): number {
  return Number(/^rchar: (\d+)/m.exec(readFileSync(`/proc/${pid}/io`, "utf8"))?.[1]);
}

async function expectCleared(machine: PausedMachine): Promise<void> {
  expect(await machine.monitor.execute("query-jobs")).toEqual([]);
  expect(await machine.monitor.execute("query-block-exports")).toEqual([]);
  expect(readdirSync(near.path("scratch"))).toEqual([]);
}

test("the disk is read once, and each repository knows its own last night", async () => {
  await using machine = await PausedMachine.start(near.folder, [disk]);
  const before = bytesRead(machine);
  const first = await backUpBoth(machine);
  for (const outcome of first.outcomes) summaryOf(outcome);
  expect(bytesRead(machine) - before).toBeGreaterThanOrEqual(24 * mebibyte);
  expect(bytesRead(machine) - before).toBeLessThan(30 * mebibyte);
  await expectCleared(machine);

  await machine.write("write -P 0x22 30M 1M");
  // A night that only one of them has.
  const between = await backUpMachine(near, machine);
  expect(between.told).toEqual([]);
  await machine.write("write -P 0x33 40M 1M");
  const { outcomes, told } = await backUpBoth(machine);
  expect(told).toEqual([]);
  const [here, there] = outcomes.map(summaryOf);
  expect(here!.bytesRead).toBeLessThan(1.5 * mebibyte);
  expect(there!.bytesRead).toBeGreaterThan(1.9 * mebibyte);
  expect(there!.bytesRead).toBeLessThan(3 * mebibyte);
  await expectCleared(machine);
  expect((await machine.bitmaps())["vd0"]).toHaveLength(2);

  await machine.quit();
  const end = contentOf(near, disk.path);
  expect((await restored(near, here!.snapshotId)).equals(end)).toBe(true);
  expect((await restored(far, there!.snapshotId)).equals(end)).toBe(true);
});

test.each(["looks", "reads", "commits"] as const)(
  "one that fails as it %s keeps its old bitmap; the other has its snapshot",
  async (moment) => {
    await using machine = await PausedMachine.start(near.folder, [disk]);
    await backUpBoth(machine);
    await machine.write("write -P 0x22 30M 1M");
    const { outcomes } = await backUpBoth(machine, (disks) => {
      const failure = new FailedError("the far one fails");
      const open = disks.open.bind(disks);
      if (moment === "looks") disks.open = () => Promise.reject(failure);
      if (moment === "reads")
        disks.open = async (before) => {
          await open(before);
          throw failure;
        };
      if (moment === "commits") disks.verify = () => Promise.reject(failure);
    });
    summaryOf(outcomes[0]);
    expect(outcomes[1]).toMatchObject({ error: { message: "the far one fails" } });
    await expectCleared(machine);
    expect((await machine.bitmaps())["vd0"]).toHaveLength(2);

    await machine.write("write -P 0x33 40M 1M");
    const next = await backUpBoth(machine);
    expect(next.told).toEqual([]);
    const [here, there] = next.outcomes.map(summaryOf);
    expect(here!.bytesRead).toBeLessThan(1.5 * mebibyte);
    expect(there!.bytesRead).toBeLessThan(3 * mebibyte);
    const content = await restored(far, there!.snapshotId);
    expect([content[30 * mebibyte], content[40 * mebibyte]]).toEqual([0x22, 0x33]);
  },
);

test("one whose storage takes nothing holds up nobody", async () => {
  class NoSessions extends WrappedStorage {
    override put(kind: ObjectKind, ...rest: StoredPut): ReturnType<Storage["put"]> {
      if (kind === "locks") return Promise.reject(new BackendError("it takes nothing"));
      return super.put(kind, ...rest);
    }
  }
  await using machine = await PausedMachine.start(near.folder, [disk]);
  const { outcomes } = await backUpBoth(machine, undefined, (storage) => new NoSessions(storage));
  summaryOf(outcomes[0]);
  expect(outcomes[1]).toMatchObject({ error: { message: "it takes nothing" } });
  await expectCleared(machine);
});

test("a machine that ends meanwhile fails both", async () => {
  await using machine = await PausedMachine.start(near.folder, [disk]);
  const { outcomes } = await backUpBoth(machine, (disks) => {
    const open = disks.open.bind(disks);
    disks.open = async (before) => {
      const opened = await open(before);
      await machine.kill();
      return opened;
    };
  });
  for (const outcome of outcomes) expect(outcome).toHaveProperty("error");
});
