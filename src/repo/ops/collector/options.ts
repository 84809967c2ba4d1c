/** What `prune` is asked, and what it answers. */
import type { UnusedLimit } from "./mark-plan.ts";

export interface PruneOptions {
  /** Time between marking and deleting, in milliseconds; 0 deletes at once. */
  readonly graceMs: number;
  readonly maxUnused: UnusedLimit;
  /** At most so many bytes are copied out of packs that are partly used. */
  readonly maxRepackBytes: number;
  readonly dryRun?: boolean | undefined;
}

export interface PruneHooks {
  readonly signal?: AbortSignal | undefined;
  /** What it is doing now. */
  readonly onStep?: ((step: string) => void) | undefined;
}

export interface PruneSummary {
  /** Packs deleted, and their bytes. */
  readonly packsFreed: number;
  readonly bytesFreed: number;
  /** Marked by this run and still there. */
  readonly packsMarked: number;
  readonly bytesMarked: number;
  /** When what this run marked may go; undefined where nothing waits. */
  readonly freeFromMs: number | undefined;
  /** Copied out of packs that were partly used. */
  readonly bytesRepacked: number;
  /** Stay unused, in packs that are partly used. */
  readonly bytesUnusedLeft: number;
  /** Earlier marks that could not be swept yet, and why. */
  readonly waiting: readonly WaitingMark[];
  /** Hosts at work since before any census: why nothing could be marked. */
  readonly blockedBy: readonly string[];
  readonly snapshotCount: number;
}

export interface WaitingMark {
  readonly bytes: number;
  /** Undefined where its grace is over. */
  readonly untilMs: number | undefined;
  /** Whose sessions may still depend on it. */
  readonly hosts: readonly string[];
}
