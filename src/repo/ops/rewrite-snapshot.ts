/** A new snapshot in an old one's place, which stays until it is forgotten: for `tag` and `repair`. */
import type { Snapshot } from "../format/index.ts";
import { WriterChain } from "./backup/writer-chain.ts";
import { commitSnapshot } from "./commit.ts";
import type { Repository } from "./repository.ts";
import type { Session } from "./sessions.ts";
import type { StoredSnapshot } from "./snapshots.ts";

/**
 * @param own  this writer's snapshots so far; the new one is added
 * @returns the new snapshot, which names the first of its line as `original`
 */
export async function rewriteSnapshot(
  repository: Repository,
  session: Session,
  old: StoredSnapshot,
  changes: Partial<Pick<Snapshot, "tree" | "tags" | "warnings">>,
  own: StoredSnapshot[],
): Promise<StoredSnapshot> {
  const { environment, writer } = repository;
  const chain = new WriterChain(repository);
  const { sequence, previous } = await chain.next(own);
  const { id, timeMs, time, hostname, username, uid, gid, paths, tags, excludes } = old;
  const { parent, tree, warnings, summary } = old;
  const snapshot: Snapshot = {
    ...{ time, hostname, username, uid, gid, paths, tags, excludes, tree, warnings, summary },
    ...(parent === undefined ? {} : { parent }),
    ...changes,
    original: old.original ?? id,
    writer: writer.writerId,
    sequence,
    ...(previous === undefined ? {} : { previous }),
    session: session.id,
    tool: environment.tool,
  };
  const newId = await commitSnapshot(repository, session, snapshot);
  await chain.remember(newId, sequence);
  const stored = { ...snapshot, id: newId, timeMs };
  own.push(stored);
  return stored;
}
