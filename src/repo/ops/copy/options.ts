/** What a copy is asked for, and what it answers. */
import type { SnapshotFilter } from "../snapshots.ts";

export interface CopyOptions {
  /** Ids, prefixes or `latest`; all that the filter lets through unless given. */
  readonly snapshots?: readonly string[] | undefined;
  readonly filter?: SnapshotFilter | undefined;
  /** Say what would be copied, and write nothing. */
  readonly dryRun?: boolean | undefined;
}

export interface CopyProgress {
  /** Plain bytes read from the source repository. */
  readonly bytesDone: number;
  readonly snapshotsDone: number;
  readonly snapshotsTotal: number;
  /** Id of the snapshot that is being copied. */
  readonly current: string;
}

export interface CopyHooks {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: CopyProgress) => void) | undefined;
  /** A snapshot is in the target now. */
  readonly onCopied?: ((snapshot: CopiedSnapshot) => void) | undefined;
  /** Something that the user should know of. */
  readonly onWarning?: ((message: string) => void) | undefined;
}

export interface CopiedSnapshot {
  readonly sourceId: string;
  /** Undefined for a dry run. */
  readonly targetId: string | undefined;
}

export interface CopySummary {
  readonly copied: readonly CopiedSnapshot[];
  /** Snapshots that the target has already. */
  readonly skipped: number;
  /** Snapshots that could not be copied, and why. */
  readonly failed: readonly { readonly sourceId: string; readonly message: string }[];
  /** Plain bytes read from the source. */
  readonly bytesRead: number;
  /** What the target grew by. */
  readonly bytesStored: number;
  readonly chunksNew: number;
  readonly chunksDelta: number;
  /** Whether both repositories cut alike, so that what hosts back up into either is shared. */
  readonly cutsAlike: boolean;
  readonly durationSeconds: number;
}
