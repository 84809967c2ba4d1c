/** Changing tags: a snapshot is never altered, so each gets a successor, and is then forgotten. */
import { UsageError } from "../../errors.ts";
import { rewriteSnapshot } from "./rewrite-snapshot.ts";
import type { Repository } from "./repository.ts";
import { needsFullKey } from "./sealed-records.ts";
import { Session } from "./sessions.ts";
import {
  matchesFilter,
  readableSnapshots,
  removeSnapshots,
  resolveAmong,
  type SnapshotFilter,
  type StoredSnapshot,
} from "./snapshots.ts";

export interface TagOptions {
  /** Ids, prefixes of one each, or `latest`; absent or empty: all that the filter lets through. */
  readonly snapshots?: readonly string[] | undefined;
  readonly filter?: SnapshotFilter | undefined;
  /** Instead of all tags that there are; not together with `add` or `remove`. */
  readonly set?: readonly string[] | undefined;
  readonly add?: readonly string[] | undefined;
  readonly remove?: readonly string[] | undefined;
}

export interface TagResult {
  /** Old and new id of each snapshot whose tags are others now. */
  readonly changed: readonly { readonly oldId: string; readonly newId: string }[];
}

/** @throws {UsageError} when no change of tags is asked for, or two that contradict each other */
export async function tag(repository: Repository, options: TagOptions): Promise<TagResult> {
  if (repository.role !== "full") throw needsFullKey("Cannot change tags");
  assertChange(options);
  const session = await Session.start(repository, "writer");
  try {
    const all = await readableSnapshots(repository);
    const own = all.filter(({ writer }) => writer === repository.writer.writerId);
    const successors = new Map<string, string>();
    const replaced = chosen(all, options, repository.environment.clock.now()).filter(
      (snapshot) => !isSame(snapshot, options),
    );
    for (const snapshot of replaced) {
      const tags = newTags(snapshot.tags, options);
      const { id } = await rewriteSnapshot(repository, session, snapshot, { tags }, own);
      successors.set(snapshot.id, id);
    }
    await removeSnapshots(repository, replaced, successors);
    await session.end();
    return { changed: [...successors].map(([oldId, newId]) => ({ oldId, newId })) };
  } catch (error) {
    await session.abort();
    throw error;
  }
}

function assertChange({ set, add = [], remove = [] }: TagOptions): void {
  if (set === undefined && add.length === 0 && remove.length === 0) {
    throw new UsageError("Cannot change tags: no change was named", {
      hint: "Give --add, --remove or --set",
    });
  }
  if (set !== undefined && add.length + remove.length > 0)
    throw new UsageError("Cannot change tags: --set goes with neither --add nor --remove");
}

function chosen(
  all: readonly StoredSnapshot[],
  { snapshots = [], filter = {} }: TagOptions,
  nowMs: number,
): StoredSnapshot[] {
  if (snapshots.length === 0) return all.filter((snapshot) => matchesFilter(snapshot, filter));
  return [...new Set(snapshots.map((wanted) => resolveAmong(all, wanted, filter, nowMs)))];
}

function newTags(tags: readonly string[], { set, add = [], remove = [] }: TagOptions): string[] {
  const wanted = (set ?? [...tags, ...add]).filter((one) => one !== "" && !remove.includes(one));
  return [...new Set(wanted)];
}

function isSame({ tags }: StoredSnapshot, options: TagOptions): boolean {
  return JSON.stringify([...tags].sort()) === JSON.stringify(newTags(tags, options).sort());
}
