/**
 * A census: what a collector saw, by its own clock. Two of them by one clock show that a session
 * has not refreshed for its TTL (R7); a pack may be marked only if a census lists it that is older
 * than every live session (R5).
 *
 * JSON body, fields in the order below (`version` 1 and `requires` before them); in index/, sealed
 * under the session key, signed by the admin key. `dataListing` is base64 of 32-byte names, sorted.
 */
import { idBytes } from "./limits.ts";
import {
  base64,
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
import type { SessionKind, SessionState } from "./session.ts";

export interface SessionSeen {
  readonly session: string;
  readonly newestName: string;
  readonly newestNumber: number;
  /** When `newestName` was first seen, by this census's clock. */
  readonly firstSeen: string;
  /** `expired`: the clock's TTL ran out; the session counts as ended from here on. */
  readonly state: SessionState | "expired";
  /** Absent in old censuses: a writer's, and half an hour. */
  readonly kind?: SessionKind;
  readonly ttlSeconds?: number;
}

export interface Census {
  readonly time: string;
  /** Whose clock the times are: the collector's machine. Other machines' times are never compared. */
  readonly clock: string;
  /** The collector's session. */
  readonly session: string;
  /** All packs in data/, listed before the sessions; 32 bytes each, sorted. */
  readonly dataListing: Uint8Array;
  readonly sessionsSeen: readonly SessionSeen[];
  /** Names of the marks that were there before the sessions were listed: who is not among these began later. */
  readonly marksSeen?: readonly string[];
}

const packCountMax = 1_000_000;

const packNames = refine(base64(packCountMax * idBytes), (names) =>
  isSortedNames(names) ? undefined : "is not a sorted list of names",
);

const codec = jsonBody(
  "census",
  record<Census>({
    time,
    clock: text(4096, 1),
    session: uuid16,
    dataListing: packNames,
    sessionsSeen: listOf(
      record<SessionSeen>({
        session: uuid16,
        newestName: name32,
        newestNumber: integer(0),
        firstSeen: time,
        state: oneOf("active", "ended", "aborted", "expired"),
        kind: optional(oneOf("writer", "reader", "collector")),
        ttlSeconds: optional(integer(1, 366 * 24 * 3600)),
      }),
      1_000_000,
    ),
    marksSeen: optional(listOf(name32, 1_000_000)),
  }),
);

export function encodeCensus(census: Census): Uint8Array {
  return codec.encode(census);
}

export function decodeCensus(body: Uint8Array): Census {
  return codec.decode(body);
}

function isSortedNames(names: Uint8Array): boolean {
  if (names.length % idBytes !== 0) return false;
  for (let at = idBytes; at < names.length; at += idBytes) {
    const before = names.subarray(at - idBytes, at);
    if (Buffer.compare(before, names.subarray(at, at + idBytes)) >= 0) return false;
  }
  return true;
}
