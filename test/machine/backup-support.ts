/** A repository and a machine without a guest, for backups of the one into the other. */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import {
  backup,
  type BackupOptions,
  type BackupSummary,
  machineDisks,
  type MachineOptions,
  restore,
} from "../../src/repo/index.ts";
import type { PausedMachine } from "../support/paused-machine.ts";
import { TestPlace } from "../support/test-place.ts";

export type MachineBackupOptions = Partial<BackupOptions> & {
  readonly machine?: Partial<MachineOptions>;
};

export interface MachineSummary extends BackupSummary {
  /** What the user was told, of the run and of the machine. */
  readonly told: readonly string[];
}

export async function backUpMachine(
  place: TestPlace,
  machine: PausedMachine,
  { machine: more, ...options }: MachineBackupOptions = {},
): Promise<MachineSummary> {
  const told: string[] = [];
  const repository = await place.repository({ warn: (text) => told.push(text) });
  const scratchFolder = place.path("scratch");
  mkdirSync(scratchFolder, { recursive: true });
  const [disks] = await machineDisks([repository], {
    qmpPath: machine.qmpPath,
    disks: [],
    scratchFolder,
    ...more,
  });
  const summary = await backup(
    repository,
    { paths: [], cwd: place.folder, disks, ...options },
    { onWarning: (text) => told.push(text) },
  );
  return { ...summary, told };
}

/** What a snapshot holds of the machine's disk. */
export async function restored(place: TestPlace, snapshot: string, disk = "vd0"): Promise<Buffer> {
  const repository = await place.repository();
  const target = place.path(`restored-${disk}-${performance.now()}.raw`);
  await restore(repository, {
    snapshot,
    path: `/machines/testvm/${disk}`,
    target: { kind: "file", path: target },
  });
  return readFileSync(target);
}

/** What the guest sees of a disk whose machine has ended. */
export function contentOf(place: TestPlace, path: string): Buffer {
  const raw = place.path(`content-${performance.now()}.raw`);
  execFileSync("qemu-img", ["convert", "-O", "raw", path, raw]);
  return readFileSync(raw);
}
