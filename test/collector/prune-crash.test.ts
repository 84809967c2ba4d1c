/** A crash after every storage call of a night with forget and prune: no committed snapshot is ever hurt. */
import { expect, test } from "vitest";
import { CrashingStorage, SimulatedCrash } from "../support/storage-faults.ts";
import { atOnce, day, disk, patched, PruneLab, touched } from "./prune-lab.ts";

/** Two hosts, three nights; garbage in whole packs, in parts of packs, and a base that only a delta needs. */
async function nights(): Promise<{ lab: PruneLab; old: string[] }> {
  const lab = await PruneLab.create();
  const first = disk("first", 24);
  const old = [await lab.backup(first), await lab.backup(disk("gone", 16), "gone")];
  await lab.backup(touched(patched(first, 0, disk("patch", 12)), 20));
  return { lab, old };
}

test.each([
  { name: "marking", options: { ...atOnce, graceMs: day }, torn: false },
  { name: "at once", options: atOnce, torn: false },
  { name: "at once, the last call done and not heard of", options: atOnce, torn: true },
])("prune, $name", { timeout: 120_000 }, async ({ options, torn }) => {
  const made = await nights();
  await using lab = made.lab;
  const { old } = made;
  const begin = lab.storage;
  const committed = new Map(lab.committed);
  const start = lab.nowMs;
  for (let survive = 0; ; survive++) {
    lab.storage = begin.copy();
    lab.nowMs = start;
    lab.committed.clear();
    for (const [id, what] of committed) lab.committed.set(id, what);
    const storage = new CrashingStorage(lab.storage, survive, { torn });
    const isCrash = (error: unknown): boolean => error instanceof SimulatedCrash;
    let hasEnded = false;
    try {
      await lab.forget(old, storage);
      await lab.prune(options, storage);
      lab.nowMs += day;
      await lab.prune(options, storage);
      hasEnded = true;
    } catch (error) {
      if (!isCrash(error) && !storage.hasCrashed) throw error;
    }
    await lab.expectAllRestore();
    // The next nights finish what the dead run began.
    const kept = await lab.names("snapshots");
    const left = old.filter((id) => kept.includes(id));
    if (left.length > 0) await lab.forget(left);
    for (let night = 0; night < 3; night++) {
      lab.nowMs += day;
      await lab.prune({ ...options, graceMs: day });
    }
    const rest = await lab.prune({ ...atOnce, dryRun: true });
    expect([rest.bytesFreed, rest.bytesRepacked]).toEqual([0, 0]);
    await lab.expectSound();
    if (hasEnded) break;
    expect(survive).toBeLessThan(200);
  }
});
