/**
 * Which sessions live, as a collector sees them: by what they wrote, by what the last census saw, by the
 * storage's clock where it has one, and, on this machine, by whether their process is still there (R7, R8).
 */
import { CorruptionError, RepositoryBusyError } from "../../../errors.ts";
import { isProcessAlive } from "../../../posix/index.ts";
import { type Census, decodeSession, type Session, type SessionSeen } from "../../format/index.ts";
import type { ObjectInfo } from "../../../storage/index.ts";
import { objectsOf } from "../early-listing.ts";
import type { Named } from "../protocol.ts";
import type { Repository } from "../repository.ts";
import { openRecord } from "../sealed-records.ts";
import { sessionTtlMs } from "../sessions.ts";

/** What a session's newest object says; `dead`: its process is gone from this machine. */
export type Liveness = "live" | "ended" | "dead" | "expired";

export interface ObservedSession {
  readonly session: string;
  readonly kind: Session["kind"];
  readonly hostname: string;
  /** By its own clock, for people; empty when its objects are gone. */
  readonly time: string;
  readonly newestName: string;
  readonly newestNumber: number;
  /** Of the newest, by this collector's clock, in milliseconds. */
  readonly firstSeenMs: number;
  readonly ttlSeconds: number;
  readonly liveness: Liveness;
  /** Its objects in locks/. */
  readonly objects: readonly string[];
  /** Names of marks that it depends on no pack of. */
  readonly ackedMarks: readonly string[];
}

export interface SessionsSeen {
  /** All but the collector's own. */
  readonly sessions: readonly ObservedSession[];
  /** The storage's time, in milliseconds, where it has one: its own newest object has just been put. */
  readonly storageNowMs: number | undefined;
}

interface SessionObjects {
  readonly names: string[];
  newest: Session;
  newestName: string;
  storedMs: number | undefined;
}

/** Whose clock a census's times are of: only this machine's own are compared. */
export function clockOf(repository: Repository): string {
  const { process, hostname } = repository.environment;
  return process?.machine ?? hostname;
}

/**
 * Lists locks/ and looks at each session, and at those that the last census saw alive and that have vanished.
 *
 * @param own         the collector's own, which is not among the answer
 * @param settlingMs  for how long what seems dead counts as alive
 */
export async function observeSessions(
  repository: Repository,
  censuses: readonly Named<Census>[],
  own: string | undefined,
  settlingMs: number,
): Promise<SessionsSeen> {
  const listed = await listSessions(repository);
  const now = repository.environment.clock.now();
  const storageNowMs = own === undefined ? undefined : listed.get(own)?.storedMs;
  const before = lastCensus(censuses, clockOf(repository));
  const seen = new Map((before?.sessionsSeen ?? []).map((entry) => [entry.session, entry]));
  const observed = [...listed].map(([session, objects]) =>
    observe(repository, session, objects, seen.get(session), { now, storageNowMs, settlingMs }),
  );
  for (const entry of seen.values()) {
    if (!listed.has(entry.session) && entry.state === "active")
      observed.push(vanished(entry, { now, settlingMs }));
  }
  return { sessions: observed.filter(({ session }) => session !== own), storageNowMs };
}

/** The newest census by one clock. */
export function lastCensus(
  censuses: readonly Named<Census>[],
  clock: string,
): Named<Census> | undefined {
  return censuses
    .filter((census) => census.clock === clock)
    .sort((a, b) => Date.parse(b.time) - Date.parse(a.time))[0];
}

const roundsMax = 100;

/**
 * Lists until nothing that was listed has vanished since: what did may have been followed by another.
 * What was gone before a list began may linger in it, where lists lag.
 */
async function listSessions(repository: Repository): Promise<Map<string, SessionObjects>> {
  const read = new Map<string, Session | undefined>();
  const gone = new Set<string>();
  for (let round = 0; round < roundsMax; round++) {
    const goneBefore = gone.size;
    const objects = await objectsOf(repository.storage, "locks");
    await readSessions(
      repository,
      objects.map(({ name }) => name),
      read,
      gone,
    );
    if (gone.size === goneBefore) return newestOf(objects, read);
  }
  throw new RepositoryBusyError("Cannot tell which sessions live: they come and go all the time", {
    hint: "Run again when fewer backups are at work",
  });
}

async function readSessions(
  repository: Repository,
  names: readonly string[],
  read: Map<string, Session | undefined>,
  gone: Set<string>,
): Promise<void> {
  for (const name of names) {
    if (read.has(name) || gone.has(name)) continue;
    const stored = await repository.storage.get("locks", name);
    if (stored === undefined) {
      gone.add(name);
      continue;
    }
    try {
      const content = openRecord(repository, "session", stored);
      const registry = await repository.registryFor(content);
      read.set(name, decodeSession(registry.verify("session", content).body));
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error;
      read.set(name, undefined); // `check` names it; it protects nothing
    }
  }
}

function newestOf(
  objects: readonly ObjectInfo[],
  read: ReadonlyMap<string, Session | undefined>,
): Map<string, SessionObjects> {
  const sessions = new Map<string, SessionObjects>();
  for (const { name, storedMs } of objects) {
    const body = read.get(name);
    if (body === undefined) continue;
    const known = sessions.get(body.session);
    if (known === undefined)
      sessions.set(body.session, { names: [name], newest: body, newestName: name, storedMs });
    else {
      known.names.push(name);
      if (body.number > known.newest.number)
        Object.assign(known, { newest: body, newestName: name, storedMs });
    }
  }
  return sessions;
}

interface Look {
  readonly now: number;
  readonly storageNowMs?: number | undefined;
  readonly settlingMs: number;
}

function observe(
  repository: Repository,
  session: string,
  { names, newest, newestName, storedMs }: SessionObjects,
  seen: SessionSeen | undefined,
  { now, storageNowMs, settlingMs }: Look,
): ObservedSession {
  const isSame = seen?.newestName === newestName;
  const firstSeenMs = isSame ? Date.parse(seen.firstSeen) : now;
  const base = {
    session,
    kind: newest.kind,
    hostname: newest.hostname,
    time: newest.time,
    newestName,
    newestNumber: newest.number,
    firstSeenMs,
    ttlSeconds: newest.ttlSeconds,
    objects: names,
    ackedMarks: newest.ackedMarks ?? [],
  };
  const idleMs = Math.max(now - firstSeenMs, (storageNowMs ?? 0) - (storedMs ?? Infinity));
  const liveness = livenessOf(repository, newest, seen, idleMs);
  const isSettling = liveness !== "ended" && now - firstSeenMs < settlingMs;
  return { ...base, liveness: isSettling ? "live" : liveness };
}

function livenessOf(
  repository: Repository,
  newest: Session,
  seen: SessionSeen | undefined,
  idleMs: number,
): Liveness {
  if (newest.state !== "active") return "ended";
  if (seen?.state === "expired") return "expired";
  const machine = repository.environment.process?.machine ?? "";
  if (newest.process !== undefined && isProcessAlive({ ...newest.process, machine }) === false)
    return "dead";
  return idleMs >= newest.ttlSeconds * 1000 ? "expired" : "live";
}

/** Its objects were deleted, which any host may do: it lives on until it ends or expires here. */
function vanished(entry: SessionSeen, { now, settlingMs }: Look): ObservedSession {
  const firstSeenMs = Date.parse(entry.firstSeen);
  const { ttlSeconds = sessionTtlMs / 1000 } = entry;
  return {
    session: entry.session,
    kind: entry.kind ?? "writer",
    hostname: "",
    time: "",
    newestName: entry.newestName,
    newestNumber: entry.newestNumber,
    firstSeenMs,
    ttlSeconds,
    liveness: now - firstSeenMs >= Math.max(ttlSeconds * 1000, settlingMs) ? "expired" : "live",
    objects: [],
    ackedMarks: [],
  };
}

export function toSeen(session: ObservedSession): SessionSeen {
  const states = { live: "active", ended: "ended", dead: "aborted", expired: "expired" } as const;
  return {
    session: session.session,
    newestName: session.newestName,
    newestNumber: session.newestNumber,
    firstSeen: new Date(session.firstSeenMs).toISOString(),
    state: states[session.liveness],
    kind: session.kind,
    ttlSeconds: session.ttlSeconds,
  };
}

export function hostsOf(sessions: readonly ObservedSession[]): string[] {
  return [
    ...new Set(sessions.map(({ hostname }) => (hostname === "" ? "an unknown host" : hostname))),
  ];
}
