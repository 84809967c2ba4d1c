/** A directory being restored: gets its own metadata when all that is in it is done. */
import type { FileMetadata } from "../file-metadata.ts";
import type { OpenDirectory } from "./open-directory.ts";

export interface RestoredDirectory {
  readonly directory: OpenDirectory;
  readonly parent: RestoredDirectory | undefined;
  /** In the snapshot. */
  readonly path: string;
  /** What to set at last; undefined leaves it as it is. */
  readonly metadata: FileMetadata | undefined;
  /** What it had before it was opened up for writing, where it keeps that. */
  readonly modeBefore: number | undefined;
  /** Files and directories in it that are not done, and one for the visit itself. */
  pending: number;
}
