/** The commit: the snapshot's object, between two looks at who is locked out (R6). */
import { FailedError } from "../../errors.ts";
import type { Storage } from "../../storage/index.ts";
import { encodeSnapshot, type Snapshot } from "../format/index.ts";
import { loadProtocol, snapshotCounts } from "./protocol.ts";
import type { Repository } from "./repository.ts";
import { putRecord } from "./sealed-records.ts";
import type { Session } from "./sessions.ts";

/**
 * @param storage  where to put it, if not straight into the repository's
 * @returns the snapshot's id
 * @throws {FailedError} when a collector has given the session up: the snapshot does not count then
 */
export async function commitSnapshot(
  repository: Repository,
  session: Session,
  snapshot: Snapshot,
  storage: Storage = repository.storage,
): Promise<string> {
  await session.refreshBeforeCommit();
  const isFenced = async (): Promise<boolean> => {
    const { fences } = await loadProtocol(repository, ["mark"]);
    return fences.some((fence) => fence.fenced.includes(session.id));
  };
  if (await isFenced()) throw lockedOut("nothing was committed");
  const { id: repoId, keys, writer, environment } = repository;
  const context = { storage, id: repoId, keys, writer, environment };
  const id = await putRecord(context, "snapshot", encodeSnapshot(snapshot));
  if (await isFenced()) {
    const protocol = await loadProtocol(repository, ["mark", "verdict"]);
    const wasSeen = protocol.verdicts.some((verdict) => verdict.seenSnapshots.includes(id));
    if (!wasSeen || !snapshotCounts(protocol, id, session.id))
      throw lockedOut(`snapshot ${id.slice(0, 8)} may not count`);
  }
  return id;
}

function lockedOut(state: string): FailedError {
  return new FailedError(`Cannot commit: a prune took this run for dead, and ${state}`, {
    hint: "Run again: what was stored is kept and will not be sent again",
  });
}
