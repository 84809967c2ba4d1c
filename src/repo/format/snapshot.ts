/**
 * A snapshot: one backup, the only commit. Its id is its object's name.
 *
 * JSON body, fields in the order below (`version` 1 and `requires` before them); sealed to the tree
 * box key, signed by the writer.
 */
import {
  counters,
  integer,
  jsonBody,
  listOf,
  name32,
  optional,
  record,
  text,
  time,
  uuid16,
} from "./schema.ts";

export interface Snapshot {
  /** RFC 3339, up to nanoseconds. */
  readonly time: string;
  readonly hostname: string;
  readonly username: string;
  readonly uid: number;
  readonly gid: number;
  /** What was backed up, as given; see src/names.ts for bytes that are not UTF-8. */
  readonly paths: readonly string[];
  readonly tags: readonly string[];
  readonly excludes: readonly string[];
  /** Blob id of the root directory's node. */
  readonly tree: string;
  /** The snapshot whose content this run compared with. */
  readonly parent?: string;
  /** The snapshot this one replaced when it was tagged or rewritten: the first of them. */
  readonly original?: string;
  readonly writer: string;
  /** Counts this writer's snapshots from 1; with `previous` it shows rollback and forks (R15). */
  readonly sequence: number;
  /** The same writer's snapshot before this one. */
  readonly previous?: string;
  /** The session that wrote it: a fenced session's snapshot needs a verdict (R6). */
  readonly session: string;
  /** The highest mark generation the run has taken in. */
  readonly ackedMark?: number;
  /** Name and version of the program. */
  readonly tool: string;
  readonly warnings: { readonly count: number; readonly first: readonly string[] };
  /** Counters for people and scripts; nothing depends on them. */
  readonly summary: Readonly<Record<string, number>>;
}

const line = text(4096);
const lines = listOf(text(64 * 1024), 65_536);

const codec = jsonBody(
  "snapshot",
  record<Snapshot>({
    time,
    hostname: line,
    username: line,
    uid: integer(0, 0xffff_ffff),
    gid: integer(0, 0xffff_ffff),
    paths: lines,
    tags: lines,
    excludes: lines,
    tree: name32,
    parent: optional(name32),
    original: optional(name32),
    writer: uuid16,
    sequence: integer(1),
    previous: optional(name32),
    session: uuid16,
    ackedMark: optional(integer(0)),
    tool: line,
    warnings: record<Snapshot["warnings"]>({
      count: integer(0),
      first: listOf(text(64 * 1024), 1024),
    }),
    summary: counters,
  }),
);

export function encodeSnapshot(snapshot: Snapshot): Uint8Array {
  return codec.encode(snapshot);
}

export function decodeSnapshot(body: Uint8Array): Snapshot {
  return codec.decode(body);
}
