/**
 * Backups of several hosts, forgets and prunes at the same time, in orders that follow from a seed: after
 * each round every committed snapshot comes back (I2), however the calls to the storage were mixed.
 */
import { expect, test } from "vitest";
import type { PruneOptions } from "../../src/repo/ops/index.ts";
import { atOnce, day, disk, hour, patched, PruneLab, touched } from "./prune-lab.ts";
import { JitteringStorage, seededNumbers } from "./mixing-storage.ts";

const seeds = Number(process.env["ASHLAR_SEEDS"] ?? 20);
const firstSeed = Number(process.env["ASHLAR_SEED"] ?? 1);

test.each(Array.from({ length: seeds }, (_, at) => firstSeed + at))(
  "seed %i",
  { timeout: 60_000 },
  async (seed) => {
    await using lab = await PruneLab.create();
    const below = seededNumbers(seed);
    // All disks are made of the same few parts, so that runs need what others drop.
    const parts = ["a", "b", "c", "d"].map((name) => disk(name, 12));
    const newDisk = (): Uint8Array => {
      let bytes = parts[below(parts.length)]!;
      bytes = patched(bytes, 0, parts[below(parts.length)]!.subarray(0, below(12) * 4096));
      return below(2) === 0 ? bytes : touched(bytes, below(12), 1 + below(200));
    };
    await lab.backup(newDisk(), "host0");

    for (let round = 0; round < 4; round++) {
      const storage = new JitteringStorage(lab.storage, below);
      const options: PruneOptions = {
        ...atOnce,
        graceMs: below(3) === 0 ? 0 : hour,
      };
      const ids = [...lab.committed.keys()];
      const doomed = ids.length > 1 ? [ids[below(ids.length)]!] : [];
      const actors = [
        lab.backup(newDisk(), "host1", storage),
        lab.backup(newDisk(), "host2", storage),
        ...(below(2) === 0 && doomed.length > 0 ? [lab.forget(doomed, storage)] : []),
        lab.prune(options, storage),
        ...(below(3) === 0 ? [lab.prune({ ...options, graceMs: hour }, storage)] : []),
      ];
      const results = await Promise.allSettled(actors);
      for (const result of results) {
        // Giving way is an answer; anything else that is no promise kept is a fault.
        if (result.status === "rejected")
          expect(result.reason, `round ${round}`).toMatchObject({ exitCode: 11 });
      }
      await lab.expectAllRestore();
      lab.nowMs += [hour / 2, 2 * hour, day][below(3)]!;
    }
    await lab.expectSound();
  },
);
