/**
 * Each writer's snapshots form a chain: they count up and name the one before. A link that is gone
 * without a record of its forgetting was lost, or is withheld by the storage (R15). Pure.
 */
import type { ForgetRecord } from "../../format/index.ts";
import type { StoredSnapshot } from "../snapshots.ts";
import type { CheckFault } from "./options.ts";

export interface ChainInput {
  /** All that can be opened, fenced ones too. */
  readonly snapshots: readonly StoredSnapshot[];
  /** Objects in snapshots/ that cannot be opened: damaged, but not gone. */
  readonly unreadable: ReadonlySet<string>;
  readonly forgets: readonly ForgetRecord[];
  /** The highest that this host has seen of each writer at an earlier check. */
  readonly seenBefore: ReadonlyMap<string, SeenSnapshot>;
  /** The last snapshot of a removed writer that counts; undefined for one in good standing. */
  readonly removedAfter: (writer: string) => number | undefined;
}

export interface SeenSnapshot {
  readonly name: string;
  readonly sequence: number;
}

export interface ChainFindings {
  readonly errors: readonly CheckFault[];
  readonly warnings: readonly CheckFault[];
}

export function checkChains(input: ChainInput): ChainFindings {
  const present = new Set([...input.snapshots.map(({ id }) => id), ...input.unreadable]);
  const forgotten = new Set(
    input.forgets.flatMap(({ snapshots }) => snapshots.map(({ name }) => name)),
  );
  const isAccountedFor = (name: string): boolean => present.has(name) || forgotten.has(name);
  const gone = new Map<string, CheckFault>();
  const warnings: CheckFault[] = [];
  for (const snapshot of input.snapshots) {
    const { previous, sequence, writer } = snapshot;
    if (previous !== undefined && !isAccountedFor(previous))
      gone.set(previous, missing(previous, sequence - 1, writer));
    const last = input.removedAfter(writer);
    if (last !== undefined && sequence > last) warnings.push(afterRemoval(snapshot));
  }
  for (const [writer, { name, sequence }] of input.seenBefore)
    if (!isAccountedFor(name)) gone.set(name, missing(name, sequence, writer));
  warnings.push(...forks(input.snapshots));
  return { errors: [...gone.values()], warnings };
}

/** The newest of each writer, and what was seen before where that is newer. */
export function highestSeen(
  snapshots: readonly StoredSnapshot[],
  seenBefore: ReadonlyMap<string, SeenSnapshot>,
): Map<string, SeenSnapshot> {
  const highest = new Map(seenBefore);
  for (const { id, sequence, writer } of snapshots) {
    if (sequence >= (highest.get(writer)?.sequence ?? 0))
      highest.set(writer, { name: id, sequence });
  }
  return highest;
}

function missing(name: string, sequence: number, writer: string): CheckFault {
  return {
    kind: "chain",
    object: name,
    writers: [writer],
    message:
      `Snapshot ${name.slice(0, 8)} (number ${sequence} of writer ${writer.slice(0, 8)}) is gone, and no record says that it was forgotten: ` +
      "it was lost, or the storage was rolled back or hides it",
  };
}

function afterRemoval({ id, writer, sequence }: StoredSnapshot): CheckFault {
  return {
    kind: "chain",
    object: id,
    writers: [writer],
    message: `Snapshot ${id.slice(0, 8)} (number ${sequence}) was written by key ${writer.slice(0, 8)} after that key was removed: do not trust it`,
  };
}

/** A run that was killed right after its commit may leave one; two machines with one key do. */
function forks(snapshots: readonly StoredSnapshot[]): CheckFault[] {
  const byPlace = new Map<string, StoredSnapshot[]>();
  for (const snapshot of snapshots) {
    const place = `${snapshot.writer} ${snapshot.hostname} ${snapshot.sequence}`;
    const members = byPlace.get(place);
    if (members === undefined) byPlace.set(place, [snapshot]);
    else members.push(snapshot);
  }
  return [...byPlace.values()]
    .filter((members) => members.length > 1)
    .map((members) => {
      const [first] = members;
      const names = members.map(({ id }) => id.slice(0, 8)).join(", ");
      return {
        kind: "chain",
        object: first!.id,
        writers: [first!.writer],
        message: `Snapshots ${names} are all number ${first!.sequence} of writer ${first!.writer.slice(0, 8)} on ${first!.hostname}: two machines use one key, or a run was killed as it ended`,
      };
    });
}
