/**
 * A session: the lease of a run (writer), of a reader, or of a collector. Each refresh is a new
 * object in locks/ that names the one before; so is the end, whatever it was.
 *
 * JSON body, fields in the order below (`version` 1 and `requires` before them); sealed under the
 * session key, signed by the writer.
 */
import {
  integer,
  jsonBody,
  listOf,
  name32,
  oneOf,
  optional,
  record,
  refine,
  text,
  time,
  uuid16,
} from "./schema.ts";

export type SessionKind = "writer" | "reader" | "collector";
/** `ended`: committed or read to its end; `aborted`: given up, by itself or for a fence. */
export type SessionState = "active" | "ended" | "aborted";

/** Which process of which machine: one that is gone can be told from one that sleeps. */
export interface ProcessIdentity {
  readonly bootId: string;
  readonly pidNamespace: string;
  readonly pid: number;
  /** Field 22 of /proc/pid/stat: a reused pid has another. */
  readonly startTicks: number;
}

export interface Session {
  /** 32 hexadecimal digits, the same in all of a session's objects. */
  readonly session: string;
  /** Counts the session's objects from 0. */
  readonly number: number;
  /** Name of the object before; absent in the first, and only there. */
  readonly previous?: string;
  readonly kind: SessionKind;
  readonly state: SessionState;
  readonly writer: string;
  readonly hostname: string;
  readonly process?: ProcessIdentity;
  /** The writing host's clock: for people, no rule compares it with another clock (R7). */
  readonly time: string;
  readonly ttlSeconds: number;
  /** Reserved: generations of two marks may be equal, so names took its place. */
  readonly ackedMark?: number;
  /** Snapshots that are live roots as long as this session is (readers). */
  readonly pins: readonly string[];
  /** Names of marks of whose packs nothing this session stores depends on any. */
  readonly ackedMarks?: readonly string[];
}

const codec = jsonBody(
  "session",
  refine(
    record<Session>({
      session: uuid16,
      number: integer(0),
      previous: optional(name32),
      kind: oneOf("writer", "reader", "collector"),
      state: oneOf("active", "ended", "aborted"),
      writer: uuid16,
      hostname: text(4096),
      process: optional(
        record<ProcessIdentity>({
          bootId: text(64),
          pidNamespace: text(64),
          pid: integer(1, 0xffff_ffff),
          startTicks: integer(0),
        }),
      ),
      time,
      ttlSeconds: integer(1, 366 * 24 * 3600),
      ackedMark: optional(integer(0)),
      pins: listOf(name32, 1_000_000),
      ackedMarks: optional(listOf(name32, 1_000_000)),
    }),
    (session) =>
      (session.number === 0) === (session.previous === undefined)
        ? undefined
        : "names an object before it when it is the first, or none when it is not",
  ),
);

export function encodeSession(session: Session): Uint8Array {
  return codec.encode(session);
}

export function decodeSession(body: Uint8Array): Session {
  return codec.decode(body);
}
