/**
 * One collector or repair at a time, as far as can be seen: a second one gives way (exit code 11).
 * Nothing rests on it: what either deletes is named by marks or replaced before (R4).
 */
import { RepositoryBusyError } from "../../../errors.ts";
import type { Repository } from "../repository.ts";
import { Session } from "../sessions.ts";
import { type ObservedSession, observeSessions } from "./sessions-seen.ts";

/** @throws {RepositoryBusyError} while another collector is at work */
export async function startExclusively(repository: Repository, what: string): Promise<Session> {
  const session = await Session.start(repository, "collector");
  try {
    const { sessions, storageNowMs } = await observeSessions(repository, [], session.id, 0);
    // Where the storage has no clock, those of two hosts are compared: who is a little late only waits.
    const nowMs = storageNowMs === undefined ? repository.environment.clock.now() : -Infinity;
    const other = sessions.find((one) => isAtWork(one, nowMs));
    if (other === undefined) return session;
    throw new RepositoryBusyError(
      `Cannot ${what}: another prune or repair is at work on ${other.hostname} since ${other.time}`,
      { hint: "Wait for it to end; one that was killed is taken for dead after half an hour" },
    );
  } catch (error) {
    await session.abort();
    throw error;
  }
}

function isAtWork({ kind, liveness, time, ttlSeconds }: ObservedSession, nowMs: number): boolean {
  if (kind !== "collector" || liveness !== "live") return false;
  return nowMs - Date.parse(time) < ttlSeconds * 1000;
}
