/**
 * A sweep's verdict on a mark: which snapshots the last list showed, and whether the packs are gone.
 * Written with `swept` false before the first deletion, and again with true after the last.
 *
 * JSON body, fields in the order below (`version` 1 and `requires` before them); in index/, sealed
 * under the session key, signed by the admin key.
 */
import { boolean, jsonBody, listOf, name32, record, time, uuid16 } from "./schema.ts";

export interface Verdict {
  /** Name of the mark's object. */
  readonly mark: string;
  readonly time: string;
  /** The collector's session. */
  readonly session: string;
  /** A fenced session's snapshot exists only if every verdict on the mark names it here (R6). */
  readonly seenSnapshots: readonly string[];
  readonly swept: boolean;
}

const codec = jsonBody(
  "verdict",
  record<Verdict>({
    mark: name32,
    time,
    session: uuid16,
    seenSnapshots: listOf(name32, 1_000_000),
    swept: boolean,
  }),
);

export function encodeVerdict(verdict: Verdict): Uint8Array {
  return codec.encode(verdict);
}

export function decodeVerdict(body: Uint8Array): Verdict {
  return codec.decode(body);
}
