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
export { backup } from "./backup/backup.ts";
export type {
  BackupHooks,
  BackupOptions,
  BackupProgress,
  BackupSummary,
  StreamInput,
} from "./backup/options.ts";
export { restore } from "./restore/restore.ts";
export type {
  RestoreHooks,
  RestoreOptions,
  RestoreProgress,
  RestoreSummary,
} from "./restore/options.ts";
export {
  listEntries,
  type ContentKind,
  type ListedEntry,
  type ListOptions,
} from "./list-entries.ts";
export { type FindOptions, findEntries } from "./find.ts";
export { dump } from "./dump.ts";
export { type Change, type ChangeKind, type DiffOptions, diffSnapshots } from "./diff/diff.ts";
export type { ChangedRange } from "./diff/image-ranges.ts";
export { inspectBlob, inspectConfig, inspectIndex, inspectTree } from "./inspect.ts";
export type { TreeEntry } from "./tree-reader.ts";
export { check } from "./check/check.ts";
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
export {
  type RepairHooks,
  repairIndex,
  type RepairIndexOptions,
  type RepairIndexSummary,
} from "./repair/repair-index.ts";
export {
  type RepairedSnapshot,
  repairSnapshots,
  type RepairSnapshotsOptions,
  type RepairSnapshotsSummary,
} from "./repair/repair-snapshots.ts";
export { type RepositoryStats, stats, type StatsOptions, type StatsReport } from "./stats.ts";
export { forget, type ForgetGroup, type ForgetOptions, type ForgetResult } from "./forget.ts";
export { tag, type TagOptions, type TagResult } from "./tag.ts";
export { prune } from "./collector/prune.ts";
export type { PruneHooks, PruneOptions, PruneSummary, WaitingMark } from "./collector/options.ts";
export { parseUnusedLimit, type UnusedLimit } from "./collector/mark-plan.ts";
