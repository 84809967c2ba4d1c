/** What a restore is asked for, and what it answers. */
import type { OverwritePolicy } from "../../../files/index.ts";
import type { SnapshotFilter } from "../snapshots.ts";

/** Where to: paths below a directory, or one file's content into a file or block device. */
export type RestoreTarget =
  | { readonly kind: "directory"; readonly path: string }
  | { readonly kind: "file"; readonly path: string };

/** Of the file that a disk is restored to. */
export type RestoreFormat = "raw" | "qcow2";

export interface RestoreOptions {
  /** Id, prefix, or `latest`. */
  readonly snapshot: string;
  readonly filter?: SnapshotFilter | undefined;
  /**
   * In the snapshot. A directory's contents, or the one file, come directly into the target; without it
   * the target gets full paths.
   */
  readonly path?: string | undefined;
  readonly target: RestoreTarget;
  /** Raw unless given, whatever a disk was in. Of a tree qcow2 is for the disks that were in such a file. */
  readonly format?: RestoreFormat | undefined;
  /** Patterns, for paths as they come to lie below the target. */
  readonly include?: readonly string[] | undefined;
  readonly exclude?: readonly string[] | undefined;
  /** Of what stands there; `always` unless given. In every case only what differs is written. */
  readonly overwrite?: OverwritePolicy | undefined;
  /** Read back all that was restored and compare it. */
  readonly verify?: boolean | undefined;
  readonly dryRun?: boolean | undefined;
}

export interface RestoreProgress {
  /** Restored, found right, or hole. */
  readonly bytesDone: number;
  /** Undefined where the tree has to be walked to know. */
  readonly bytesTotal: number | undefined;
  readonly filesDone: number;
  readonly current: string | undefined;
}

export type EntryOutcome = "restored" | "kept" | "planned";

export interface RestoreHooks {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: RestoreProgress) => void) | undefined;
  /** Something did not come back as it was; ready for people. */
  readonly onWarning?: ((message: string) => void) | undefined;
  readonly onEntry?: ((path: string, outcome: EntryOutcome) => void) | undefined;
}

export interface RestoreSummary {
  readonly snapshotId: string;
  /** What was selected. */
  readonly filesTotal: number;
  readonly bytesTotal: number;
  readonly filesRestored: number;
  /** Left as they were, by the policy or because they are complete. */
  readonly filesSkipped: number;
  /** Sizes of the files restored, holes included. */
  readonly bytesRestored: number;
  /** Found right where they belong, and not written. */
  readonly bytesSkipped: number;
  /** What was really written. */
  readonly bytesWritten: number;
  /** Stored bytes that were fetched. */
  readonly bytesFetched: number;
  readonly durationSeconds: number;
  /** Paths of files and directories of which data is lost, the first hundred. */
  readonly damaged: readonly string[];
  readonly damagedCount: number;
  /** Paths of files that did not read back as they were written, the first hundred. */
  readonly unequal: readonly string[];
  readonly unequalCount: number;
  /** Entries that could not be brought back for other reasons. */
  readonly failedCount: number;
}
