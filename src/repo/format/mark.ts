/**
 * What a collector means to delete (a mark), and whom it locks out before it looks for the last time
 * (a fence). A mark is final: its packs never become usable again (R3).
 *
 * JSON body, `record` first ("mark" or "fence"), then fields in the order below (`version` 1 and
 * `requires` before them); in index/, sealed under the session key, signed by the admin key.
 */
import {
  integer,
  jsonBody,
  listOf,
  name32,
  oneOf,
  optional,
  record,
  text,
  time,
  uuid16,
  variants,
} from "./schema.ts";

export interface Mark {
  readonly record: "mark";
  /** One more than the highest generation seen; two collectors may take the same. */
  readonly generation: number;
  readonly time: string;
  /** The collector's session. */
  readonly session: string;
  /** Packs to be deleted, whether an index object names them or not. */
  readonly packs: readonly string[];
  readonly reason: string;
  /** Index objects that go together with the packs. */
  readonly supersedes?: readonly string[];
}

/** Written before the last list of snapshots: a snapshot of these sessions needs every verdict's word (R6). */
export interface Fence {
  readonly record: "fence";
  /** Name of the mark's object. */
  readonly mark: string;
  readonly time: string;
  readonly session: string;
  readonly fenced: readonly string[];
}

export type MarkRecord = Mark | Fence;

const names = listOf(name32, 1_000_000);

const codec = jsonBody(
  "mark",
  variants<MarkRecord, "record">("record", {
    mark: record<Mark>({
      record: oneOf("mark"),
      generation: integer(1),
      time,
      session: uuid16,
      packs: names,
      reason: text(4096),
      supersedes: optional(names),
    }),
    fence: record<Fence>({
      record: oneOf("fence"),
      mark: name32,
      time,
      session: uuid16,
      fenced: listOf(uuid16, 1_000_000),
    }),
  }),
);

export function encodeMark(mark: MarkRecord): Uint8Array {
  return codec.encode(mark);
}

export function decodeMark(body: Uint8Array): MarkRecord {
  return codec.decode(body);
}
