/** Operations whose code is loaded when they are first called: a list of snapshots need not wait for it. */
import type { backup as Backup } from "./backup/backup.ts";
import type { backupTogether as BackupTogether } from "./backup/together.ts";
import type { machineDisks as MachineDisks } from "./backup/machine-disks.ts";
import type { libvirtDisks as LibvirtDisks } from "./backup/libvirt-disks.ts";
import type { nbdDisks as NbdDisks } from "./backup/nbd-disks.ts";
import type { check as Check } from "./check/check.ts";
import type { prune as Prune } from "./collector/prune.ts";
import type { copySnapshots as CopySnapshots } from "./copy/copy.ts";
import type { diffSnapshots as DiffSnapshots } from "./diff/diff.ts";
import type { dump as Dump } from "./dump.ts";
import type { findEntries as FindEntries } from "./find.ts";
import type { forget as Forget } from "./forget.ts";
import type { listEntries as ListEntries } from "./list-entries.ts";
import type { repairIndex as RepairIndex } from "./repair/repair-index.ts";
import type { repairSnapshots as RepairSnapshots } from "./repair/repair-snapshots.ts";
import type { restore as Restore } from "./restore/restore.ts";
import type { restoreDomain as RestoreDomain } from "./restore/restore-domain.ts";
import type { stats as Stats } from "./stats.ts";
import type { tag as Tag } from "./tag.ts";

export const backup: typeof Backup = async (...args) =>
  (await import("./backup/backup.ts")).backup(...args);

export const backupTogether: typeof BackupTogether = async (...args) =>
  (await import("./backup/together.ts")).backupTogether(...args);

export const nbdDisks = async (
  ...args: Parameters<typeof NbdDisks>
): Promise<ReturnType<typeof NbdDisks>> =>
  (await import("./backup/nbd-disks.ts")).nbdDisks(...args);

export const machineDisks: typeof MachineDisks = async (...args) =>
  (await import("./backup/machine-disks.ts")).machineDisks(...args);

export const libvirtDisks: typeof LibvirtDisks = async (...args) =>
  (await import("./backup/libvirt-disks.ts")).libvirtDisks(...args);

export const restore: typeof Restore = async (...args) =>
  (await import("./restore/restore.ts")).restore(...args);

export const restoreDomain: typeof RestoreDomain = async (...args) =>
  (await import("./restore/restore-domain.ts")).restoreDomain(...args);

export const copySnapshots: typeof CopySnapshots = async (...args) =>
  (await import("./copy/copy.ts")).copySnapshots(...args);

export const forget: typeof Forget = async (...args) =>
  (await import("./forget.ts")).forget(...args);

export const tag: typeof Tag = async (...args) => (await import("./tag.ts")).tag(...args);

export const prune: typeof Prune = async (...args) =>
  (await import("./collector/prune.ts")).prune(...args);

export const check: typeof Check = async (...args) =>
  (await import("./check/check.ts")).check(...args);

export const repairIndex: typeof RepairIndex = async (...args) =>
  (await import("./repair/repair-index.ts")).repairIndex(...args);

export const repairSnapshots: typeof RepairSnapshots = async (...args) =>
  (await import("./repair/repair-snapshots.ts")).repairSnapshots(...args);

export const stats: typeof Stats = async (...args) => (await import("./stats.ts")).stats(...args);

export const listEntries: typeof ListEntries = async function* (...args) {
  yield* (await import("./list-entries.ts")).listEntries(...args);
};

export const findEntries: typeof FindEntries = async function* (...args) {
  yield* (await import("./find.ts")).findEntries(...args);
};

export const diffSnapshots: typeof DiffSnapshots = async function* (...args) {
  yield* (await import("./diff/diff.ts")).diffSnapshots(...args);
};

export const dump: typeof Dump = async function* (...args) {
  yield* (await import("./dump.ts")).dump(...args);
};
