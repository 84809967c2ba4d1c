/** The commit: the snapshot's object, between two looks at who is locked out, and whether a prune sees us (R6). */
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
 * @throws {FailedError} when a collector has given the session up, so that the snapshot does not count, or
 *   cannot have seen it, so that something may be missing
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
  const look = async (): Promise<Standing> => {
    const [wasFenced, isRecorded] = await Promise.all([isFenced(), session.isRecorded()]);
    if (wasFenced) return "fenced";
    if (isRecorded) return "alive";
    // A collector fences before it takes a session away.
    return (await isFenced()) ? "fenced" : "removed";
  };
  const before = await look();
  if (before !== "alive") throw refusal(before, "nothing was committed");
  const { id: repoId, keys, writer, environment } = repository;
  const context = { storage, id: repoId, keys, writer, environment };
  const id = await putRecord(context, "snapshot", encodeSnapshot(snapshot));
  const after = await look();
  if (after === "removed") throw refusal(after, `snapshot ${id.slice(0, 8)} may lack some of it`);
  if (after === "fenced") {
    const protocol = await loadProtocol(repository, ["mark", "verdict"]);
    const wasSeen = protocol.verdicts.some((verdict) => verdict.seenSnapshots.includes(id));
    if (!wasSeen || !snapshotCounts(protocol, id, session.id))
      throw refusal(after, `snapshot ${id.slice(0, 8)} may not count`);
  }
  return id;
}

/** `fenced`: a collector has given the session up; `removed`: its object is gone, which no collector did. */
type Standing = "alive" | "fenced" | "removed";

function refusal(standing: Exclude<Standing, "alive">, state: string): FailedError {
  if (standing === "fenced")
    return new FailedError(`Cannot commit: a prune took this run for dead, and ${state}`, {
      hint: "Run again: what was stored is kept and will not be sent again",
    });
  return new FailedError(
    `Cannot commit: somebody removed this run's session from locks/, so a prune may have deleted what it relies on: ${state}`,
    { hint: "Run again, and remove nothing from locks/: prune takes away what is over" },
  );
}
