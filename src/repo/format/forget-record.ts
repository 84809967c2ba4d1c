/**
 * A signed note that snapshots were dropped on purpose: a missing snapshot without one was withheld
 * by the storage (R15). Written before the snapshot objects are deleted.
 *
 * JSON body, fields in the order below (`version` 1 and `requires` before them); in index/, sealed
 * under the session key, signed by the admin key.
 */
import { integer, jsonBody, listOf, name32, optional, record, time, uuid16 } from "./schema.ts";

export interface ForgottenSnapshot {
  readonly name: string;
  readonly writer: string;
  readonly sequence: number;
  /** The snapshot that took its place (tag, rewrite). */
  readonly replacedBy?: string;
}

export interface ForgetRecord {
  readonly time: string;
  readonly snapshots: readonly ForgottenSnapshot[];
}

const codec = jsonBody(
  "forget record",
  record<ForgetRecord>({
    time,
    snapshots: listOf(
      record<ForgottenSnapshot>({
        name: name32,
        writer: uuid16,
        sequence: integer(1),
        replacedBy: optional(name32),
      }),
      1_000_000,
    ),
  }),
);

export function encodeForgetRecord(record: ForgetRecord): Uint8Array {
  return codec.encode(record);
}

export function decodeForgetRecord(body: Uint8Array): ForgetRecord {
  return codec.decode(body);
}
