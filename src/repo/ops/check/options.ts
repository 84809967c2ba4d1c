/** What `check` is asked, and what it answers. */
import type { ReadSubset } from "./read-plan.ts";

export interface CheckOptions {
  /** Absent: structure only, no pack is read but for the tree nodes that snapshots reach. */
  readonly readData?: ReadSubset | undefined;
}

export interface CheckHooks {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: (progress: CheckProgress) => void;
}

export interface CheckProgress {
  readonly phase: "objects" | "packs" | "snapshots";
  /** Bytes of packs read, or 0. */
  readonly bytesDone: number;
  readonly bytesTotal: number | undefined;
  /** Snapshots walked. */
  readonly snapshotsDone: number;
}

export type FaultKind =
  "config" | "key" | "card" | "index" | "record" | "session" | "snapshot" | "chain" | "pack";

export interface CheckFault {
  readonly kind: FaultKind;
  /** Name of the object, where one is to blame. */
  readonly object?: string | undefined;
  readonly message: string;
  /** Ids of the writers who vouched for what is wrong. */
  readonly writers?: readonly string[] | undefined;
}

/** A pack that is damaged, missing, or not what an index object says. */
export interface DamagedPack {
  readonly name: string;
  readonly cls: "data" | "tree" | undefined;
  readonly size: number | undefined;
  readonly faults: readonly string[];
  /** Who signed the index objects that name it. */
  readonly writers: readonly string[];
  readonly blobCount: number;
  /** Blobs of it that cannot be read from it. */
  readonly damagedCount: number;
  /** Of these, blobs that no other pack has either. */
  readonly lostCount: number;
  /** Ids of damaged blobs, the first of them. */
  readonly damagedIds: readonly string[];
}

/** A file or folder of a snapshot that cannot be restored whole. */
export interface HurtPath {
  readonly snapshot: string;
  readonly path: string;
  readonly lostChunks: number;
  readonly lostBytes: number;
  readonly message: string;
}

export interface HurtSnapshot {
  readonly id: string;
  readonly time: string;
  readonly hostname: string;
  readonly hurtCount: number;
}

export interface CheckReport {
  /** The first of them; `errorCount` counts all. */
  readonly errors: readonly CheckFault[];
  readonly errorCount: number;
  /** Strange, and no damage: nothing that a snapshot needs is missing. */
  readonly warnings: readonly CheckFault[];
  readonly damagedPacks: readonly DamagedPack[];
  readonly hurtSnapshots: readonly HurtSnapshot[];
  readonly hurtPaths: readonly HurtPath[];
  readonly hurtPathCount: number;
  readonly snapshotCount: number;
  readonly fencedCount: number;
  readonly indexObjectCount: number;
  /** Listed in data/. */
  readonly packCount: number;
  readonly packBytes: number;
  /** Listed and in no index object: garbage, or of a backup that is running. */
  readonly unindexedPackCount: number;
  /** Named by a collector's mark and not deleted yet. */
  readonly markedPackCount: number;
  readonly packsRead: number;
  readonly bytesRead: number;
}

/** Beyond these, only counts are kept: a report must fit memory and a terminal. */
export const reportLimits = { errors: 1000, packs: 1000, idsPerPack: 100, paths: 1000 } as const;
