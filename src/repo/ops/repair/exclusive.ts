/**
 * One collector or repair at a time, as far as can be seen: a second one gives way (exit code 11).
 * Nothing rests on it: what either deletes is named by marks or replaced before (R4).
 */
import { isProcessAlive } from "../../../posix/index.ts";
import { CorruptionError, RepositoryBusyError } from "../../../errors.ts";
import { decodeSession, type Session as SessionBody } from "../../format/index.ts";
import type { Repository } from "../repository.ts";
import { openRecord } from "../sealed-records.ts";
import { Session } from "../sessions.ts";

/** @throws {RepositoryBusyError} while another collector is at work */
export async function startExclusively(repository: Repository, what: string): Promise<Session> {
  const session = await Session.start(repository, "collector");
  try {
    for (const other of await newestOfSessions(repository)) {
      if (other.session === session.id || !isAtWork(other, repository)) continue;
      throw new RepositoryBusyError(
        `Cannot ${what}: another prune or repair is at work on ${other.hostname} since ${other.time}`,
        { hint: "Wait for it to end; one that was killed is taken for dead after half an hour" },
      );
    }
    return session;
  } catch (error) {
    await session.abort();
    throw error;
  }
}

async function newestOfSessions(repository: Repository): Promise<SessionBody[]> {
  const newest = new Map<string, SessionBody>();
  for await (const { name } of repository.storage.list("locks")) {
    const stored = await repository.storage.get("locks", name);
    if (stored === undefined) continue;
    try {
      const content = openRecord(repository, "session", stored);
      const registry = await repository.registryFor(content);
      const session = decodeSession(registry.verify("session", content).body);
      const known = newest.get(session.session);
      if (known === undefined || known.number < session.number)
        newest.set(session.session, session);
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error; // check names it
    }
  }
  return [...newest.values()];
}

/** Clocks of two hosts may differ: who is a little late is only made to wait. */
function isAtWork(session: SessionBody, { environment }: Repository): boolean {
  if (session.kind !== "collector" || session.state !== "active") return false;
  const { process } = session;
  const machine = environment.process?.machine ?? "";
  if (process !== undefined && isProcessAlive({ ...process, machine }) === false) return false;
  const ageMs = environment.clock.now() - Date.parse(session.time);
  return ageMs < session.ttlSeconds * 1000;
}
