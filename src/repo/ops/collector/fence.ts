/**
 * Locks out sessions that seem to be gone, before snapshots are listed for a sweep: what they commit
 * from now on does not count, and what they committed before is named in the verdict (R6).
 */
import { BackendError } from "../../../errors.ts";
import { encodeMark, encodeVerdict } from "../../format/index.ts";
import { loadProtocol, type Protocol } from "../protocol.ts";
import type { Repository } from "../repository.ts";
import { putRecord } from "../sealed-records.ts";
import type { Session } from "../sessions.ts";
import { listSnapshots } from "../snapshots.ts";
import { noSession } from "./census.ts";
import type { ObservedSession } from "./sessions-seen.ts";

/** @returns the protocol with the new fences and verdicts */
export async function fenceGone(
  repository: Repository,
  protocol: Protocol,
  sessions: readonly ObservedSession[],
  own: Session | undefined,
): Promise<Protocol> {
  const gone = sessions.filter(
    ({ session, kind, liveness }) =>
      kind === "writer" &&
      (liveness === "dead" || liveness === "expired") &&
      !isSettled(protocol, session),
  );
  if (gone.length === 0) return protocol;
  try {
    await fence(repository, gone, own);
  } catch (error) {
    const isFull = error instanceof BackendError && error.errno === "ENOSPC";
    // A process of this machine that has ended commits nothing any more: its fence is for the record.
    if (!isFull || gone.some(({ liveness }) => liveness !== "dead")) throw error;
    return protocol;
  }
  return loadProtocol(repository);
}

/** A fence alone is not enough: who put it may have been killed before its verdict. */
function isSettled({ fences, verdicts }: Protocol, session: string): boolean {
  return fences.some(
    (fence) =>
      fence.fenced.includes(session) &&
      verdicts.some((verdict) => verdict.mark === fence.mark && verdict.session === fence.session),
  );
}

async function fence(
  repository: Repository,
  gone: readonly ObservedSession[],
  own: Session | undefined,
): Promise<void> {
  const { clock, random } = repository.environment;
  const time = new Date(clock.now()).toISOString();
  const session = own?.id ?? noSession;
  const fenced = gone.map((one) => one.session);
  // It holds for all marks from now on, so it is about none of them: a name of its own ties the two.
  const mark = Buffer.from(random.bytes(32)).toString("hex");
  await putRecord(repository, "mark", encodeMark({ record: "fence", mark, time, session, fenced }));
  const { snapshots } = await listSnapshots(repository);
  const seenSnapshots = snapshots
    .filter((snapshot) => fenced.includes(snapshot.session))
    .map(({ id }) => id);
  await putRecord(
    repository,
    "verdict",
    encodeVerdict({ mark, time, session, seenSnapshots, swept: false }),
  );
}
