/** Disks that are no files of this host: exports of servers, disks of a running machine. */
import type { DiskRange, DiskSource } from "../../../image/index.ts";
import type { DirectoryEntry } from "../../format/index.ts";

export interface OpenDisk {
  /** In the snapshot; absolute. */
  readonly path: string;
  readonly source: DiskSource;
  /**
   * Names the state that is read, for the next run to compare with; 0: it has no name. Kept as the
   * entry's inode.
   */
  readonly state: bigint;
  /** Only these may differ from what the parent snapshot holds at this path. */
  readonly changes?: readonly DiskRange[];
}

export interface OpenDisks {
  readonly disks: readonly OpenDisk[];
  /** Small files beside them: what the machine is. */
  readonly documents: readonly { readonly path: string; readonly bytes: Uint8Array }[];
  /** What the user must know of; the snapshot holds what was asked for all the same. */
  readonly warnings: readonly string[];
}

export interface DiskSet {
  /** What the snapshot is said to be of; absolute. */
  readonly paths: readonly string[];
  /**
   * Opens all at one point in time.
   *
   * @param before  what the parent snapshot holds at a path, if all of it is still stored
   */
  open(before: (path: string) => Promise<DirectoryEntry | undefined>): Promise<OpenDisks>;
  /** Before the commit. @throws when what was read may not be of that point in time after all */
  verify(): Promise<void>;
  /** The snapshot is durable: what was needed to make it again may go. */
  committed(snapshotId: string): Promise<void>;
  /** In the end; `error` is why nothing was committed. */
  close(error?: unknown): Promise<void>;
}
