/** What a backup is asked for, and what it answers. */
import type { TrafficCounts } from "../../../storage/index.ts";
import type { CompressionLevel } from "../../blobs/index.ts";
import type { DiskSet } from "./disk-set.ts";
import type { SourceShare } from "./shared-source.ts";

/** Bytes that come from elsewhere, kept in the snapshot as one file. */
export interface StreamInput {
  /** Path in the snapshot. */
  readonly filename: string;
  readonly bytes: AsyncIterable<Uint8Array>;
  /** Awaited after the last byte; throws when the bytes must not be trusted: then nothing is committed. */
  readonly finished?: () => Promise<void>;
  /** Called when the run gives up: whoever makes the bytes need not go on, and nothing must wait for them. */
  readonly cancel?: () => void;
}

/** Ascending and apart, inside a disk of `size` bytes. */
export interface ChangedRanges {
  readonly size: number;
  readonly ranges: readonly { readonly offset: number; readonly length: number }[];
}

export interface BackupOptions {
  readonly paths: readonly string[];
  /** Absolute; what relative paths start from. */
  readonly cwd: string;
  readonly stream?: StreamInput | undefined;
  /** Disks of elsewhere, instead of paths. */
  readonly disks?: DiskSet | undefined;
  /** Of what a machine calls unchanged, the share to be read and compared all the same; 0 to 1. */
  readonly audit?: number | undefined;
  readonly tags?: readonly string[] | undefined;
  readonly hostname?: string | undefined;
  /** Milliseconds since the epoch, instead of now. */
  readonly timeMs?: number | undefined;
  readonly excludes?: readonly string[] | undefined;
  readonly oneFileSystem?: boolean | undefined;
  /** Id of the snapshot to compare with; the newest of this host and these paths unless given. */
  readonly parent?: string | undefined;
  /** Read files whose size, times and inode have not changed, too. */
  readonly force?: boolean | undefined;
  /** Do everything but store. */
  readonly dryRun?: boolean | undefined;
  readonly compression?: CompressionLevel | undefined;
  /** Whether changed chunks are stored against what stood there before: `auto` where their bytes are at hand. */
  readonly delta?: "auto" | "always" | "never" | undefined;
  /** Where this host keeps what it stored, for deltas against it when the repository is not near or not to be read. */
  readonly baseCache?: { readonly folder: string; readonly bytesMost: number } | undefined;
  /** Patterns of what is a disk image, or is not, whatever it looks like. */
  readonly images?: readonly string[] | undefined;
  readonly noImages?: readonly string[] | undefined;
  /**
   * What may have changed on the one disk that is named, since the parent; only that is read. From
   * elsewhere: nobody here can tell whether it is all.
   */
  readonly changes?: ChangedRanges | undefined;
  /** Folders below which backing files of images may lie, beside the images' own. */
  readonly backingDirs?: readonly string[] | undefined;
  /** Holds the passphrase of qcow2 files that are encrypted. */
  readonly diskKeyFile?: string | undefined;
  /** Where several runs read the same source side by side: this one's share of it. */
  readonly share?: SourceShare | undefined;
}

export interface BackupProgress {
  readonly bytesDone: number;
  /** Undefined where directories have to be walked to know. */
  readonly bytesTotal: number | undefined;
  readonly filesDone: number;
  readonly current: string | undefined;
  /** Over the line to the repository's storage and back, since it was opened; undefined where nobody counts. */
  readonly bytesSent: number | undefined;
  readonly bytesReceived: number | undefined;
}

/** Beside the parent's file at the same path. */
export type FileState = "new" | "changed" | "unmodified";

export interface BackupHooks {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: BackupProgress) => void) | undefined;
  /** Something was left out, or may be a mixture of two states. */
  readonly onWarning?: ((message: string) => void) | undefined;
  /** A file or image is stored. */
  readonly onFile?: ((path: string, state: FileState) => void) | undefined;
}

/** `off` was asked for; `none`: the repository is not near or not to be read, and there is no base cache. */
export type DeltaSource = "repository" | "base cache" | "none" | "off";

export interface BackupSummary {
  /** Undefined for a dry run. */
  readonly snapshotId: string | undefined;
  /** The snapshot it compared with; undefined: everything was read. */
  readonly parent: string | undefined;
  readonly filesNew: number;
  readonly filesChanged: number;
  readonly filesUnmodified: number;
  /** Sizes of all files and images in the snapshot. */
  readonly bytesTotal: number;
  readonly bytesRead: number;
  /** Plain bytes of new chunks. */
  readonly bytesNew: number;
  /** What the repository grew by. */
  readonly bytesStored: number;
  /** Over the line to the repository's storage and back, since it was opened; undefined where nobody counts. */
  readonly traffic: TrafficCounts | undefined;
  readonly chunksNew: number;
  readonly chunksDelta: number;
  /** Where deltas looked for their bases. */
  readonly deltaBases: DeltaSource;
  readonly durationSeconds: number;
  readonly warnings: readonly string[];
  /** Some of what was asked for is not in the snapshot, or is not of one state: exit code 3. */
  readonly isIncomplete: boolean;
}
