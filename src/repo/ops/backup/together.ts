/**
 * One backup into several repositories: the source is read once, each repository gets a snapshot of its
 * own, and one that fails does not stop the others.
 */
import { UsageError } from "../../../errors.ts";
import type { Repository } from "../repository.ts";
import { backup } from "./backup.ts";
import type { DiskSet } from "./disk-set.ts";
import type { BackupHooks, BackupOptions, BackupSummary, StreamInput } from "./options.ts";
import { SharedSource } from "./shared-source.ts";

export type BackupOutcome = { readonly summary: BackupSummary } | { readonly error: unknown };

/** As for one repository, but each has disks of its own. */
export interface BackupTogetherOptions extends Omit<BackupOptions, "disks"> {
  /** @returns a set for each repository */
  readonly openDisks?: (() => Promise<readonly DiskSet[]>) | undefined;
}

/**
 * @param hooksOf  by the repository's place in the list
 * @returns outcomes in the order of the repositories
 * @throws {UsageError} when the options make no sense for several
 */
export async function backupTogether(
  repositories: readonly Repository[],
  { openDisks, ...options }: BackupTogetherOptions,
  hooksOf: (index: number) => BackupHooks,
): Promise<readonly BackupOutcome[]> {
  if (options.parent !== undefined) {
    throw new UsageError("Cannot compare with one parent in several repositories", {
      hint: "Leave --parent out: each compares with its own newest snapshot",
    });
  }
  if (new Set(repositories.map(({ idHex }) => idHex)).size < repositories.length)
    throw new UsageError("Cannot back up twice into the same repository: -r names it twice");
  const disks = await openDisks?.();
  const shared = new SharedSource(repositories.length);
  const streams = sharedStreams(options.stream, shared, repositories.length);
  // One time for all: a night has the same in each.
  const timeMs = options.timeMs ?? repositories[0]?.environment.clock.now();
  const runs = repositories.map(async (repository, index): Promise<BackupOutcome> => {
    const share = shared.party(index);
    const own = { ...options, timeMs, share, stream: streams[index], disks: disks?.[index] };
    try {
      return { summary: await backup(repository, own, hooksOf(index)) };
    } catch (error) {
      return { error };
    } finally {
      shared.leave(index);
    }
  });
  return Promise.all(runs);
}

/** Each sees the bytes as its own; whoever makes them is told to stop when the last gives up. */
function sharedStreams(
  stream: StreamInput | undefined,
  shared: SharedSource,
  count: number,
): (StreamInput | undefined)[] {
  if (stream === undefined) return Array.from({ length: count }, () => undefined);
  let users = count;
  let finished: Promise<void> | undefined;
  return Array.from({ length: count }, (_, index) => ({
    filename: stream.filename,
    bytes: shared.party(index).entries(() => stream.bytes),
    finished: () => (finished ??= stream.finished?.() ?? Promise.resolve()),
    cancel: () => {
      if (--users === 0) stream.cancel?.();
    },
  }));
}
