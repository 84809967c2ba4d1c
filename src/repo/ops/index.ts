/** What can be done with a repository: one free function an operation, on plain data. */
export { type Clock, type Environment } from "./environment.ts";
export { Repository } from "./repository.ts";
export {
  addKey,
  changeCredential,
  type Credential,
  type KeyInfo,
  listKeys,
  removeKey,
} from "./key-slots.ts";
export {
  listSnapshots,
  readableSnapshots,
  resolveSnapshot,
  type SnapshotFilter,
  type SnapshotList,
  type StoredSnapshot,
} from "./snapshots.ts";
export {
  applyPolicy,
  type ForgetPolicy,
  type GroupKey,
  groupSnapshots,
  isEmptyPolicy,
  type PolicyDecision,
  type SnapshotGroup,
} from "./forget-policy.ts";
export { loadStandings, type Standings } from "./standing.ts";
export {
  backup,
  backupTogether,
  check,
  copySnapshots,
  diffSnapshots,
  dump,
  findEntries,
  forget,
  libvirtDisks,
  listEntries,
  machineDisks,
  nbdDisks,
  prune,
  repairIndex,
  repairSnapshots,
  restore,
  restoreDomain,
  stats,
  tag,
} from "./operations.ts";
export type {
  BackupHooks,
  BackupOptions,
  BackupProgress,
  BackupSummary,
  StreamInput,
} from "./backup/options.ts";
export type { DiskSet } from "./backup/disk-set.ts";
export type { MachineOptions } from "./backup/machine-disks.ts";
export type { BackupOutcome } from "./backup/together.ts";
export type {
  CopiedSnapshot,
  CopyHooks,
  CopyOptions,
  CopyProgress,
  CopySummary,
} from "./copy/options.ts";
export type {
  RestoreFormat,
  RestoreHooks,
  RestoreOptions,
  RestoreProgress,
  RestoreSummary,
} from "./restore/options.ts";
export type { ContentKind, ListedEntry, ListOptions } from "./list-entries.ts";
export type { FindOptions } from "./find.ts";
export type { Change, ChangeKind, DiffOptions, DiskChange } from "./diff/diff.ts";
export type { ChangedRange } from "./diff/image-ranges.ts";
export type { Partition, PartitionTable } from "../../image/index.ts";
export { inspectBlob, inspectConfig, inspectIndex, inspectTree } from "./inspect.ts";
export type { TreeEntry } from "./tree-reader.ts";
export { parseReadSubset, type ReadSubset } from "./check/read-plan.ts";
export type {
  CheckFault,
  CheckHooks,
  CheckOptions,
  CheckProgress,
  CheckReport,
  DamagedPack,
  HurtPath,
  HurtSnapshot,
} from "./check/options.ts";
export type { RepairHooks, RepairIndexOptions, RepairIndexSummary } from "./repair/repair-index.ts";
export type {
  RepairedSnapshot,
  RepairSnapshotsOptions,
  RepairSnapshotsSummary,
} from "./repair/repair-snapshots.ts";
export type { RepositoryStats, StatsOptions, StatsReport } from "./stats.ts";
export type { ForgetGroup, ForgetOptions, ForgetResult } from "./forget.ts";
export type { TagOptions, TagResult } from "./tag.ts";
export type { PruneHooks, PruneOptions, PruneSummary, WaitingMark } from "./collector/options.ts";
export { parseUnusedLimit, type UnusedLimit } from "./collector/mark-plan.ts";
export { ImageReader, listImages } from "./image-reader.ts";
export { type DiskVolume, diskVolumes } from "./disk-volumes.ts";
export { type ContentReader, contentReader } from "./content-reader.ts";
export { TreeBrowser } from "./tree-browser.ts";
export { Session } from "./sessions.ts";
