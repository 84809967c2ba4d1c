/** Changed ranges that a user brought: used only where they can be meant. */
import { UsageError } from "../../../errors.ts";
import type { DiskRange, DiskSource } from "../../../image/index.ts";
import { printableName } from "../../../names.ts";
import type { DirectoryEntry } from "../../format/index.ts";
import type { ChangedRanges } from "./options.ts";

/**
 * @param before  the disk in the parent; undefined where it is not there, or not all of it any more
 * @throws {UsageError} with the reason when they cannot be used
 */
export function checkedChanges(
  changes: ChangedRanges | undefined,
  { path, size }: DiskSource,
  before: DirectoryEntry | undefined,
): readonly DiskRange[] | undefined {
  if (changes === undefined) return undefined;
  const refuse = (reason: string, hint: string): never => {
    const text = `Cannot use the changed map for ${printableName(path)}: ${reason}`;
    throw new UsageError(text, { hint });
  };
  if (changes.size !== size)
    return refuse(
      `it is of a disk of ${changes.size} bytes, this one has ${size}`,
      "Make the map again; after a change of size include what was added",
    );
  if (before?.content?.kind !== "image")
    return refuse(
      "no whole snapshot of this disk is there to start from",
      "Leave --changed-map out",
    );
  const beforeSize = before.metadata.size;
  if (beforeSize > size)
    return refuse(`the disk had ${beforeSize} bytes and shrank`, "Leave --changed-map out");
  let end = 0;
  for (const { offset, length } of changes.ranges) {
    if (length <= 0 || offset + length > size)
      return refuse(`range ${offset}+${length} is not inside the disk`, "Make the map again");
    if (offset < end)
      return refuse(
        `range ${offset}+${length} overlaps the one before`,
        "Sort and join the ranges",
      );
    end = offset + length;
  }
  return changes.ranges;
}

/** A bitmap tells of writes; what a disk grew by is changed without any. */
export function withAdded(
  ranges: readonly DiskRange[],
  sizeBefore: number,
  size: number,
): readonly DiskRange[] {
  if (sizeBefore === size) return ranges;
  const before = ranges.flatMap(({ offset, length }) => {
    const inside = Math.min(length, sizeBefore - offset);
    return inside > 0 ? [{ offset, length: inside }] : [];
  });
  return [...before, { offset: sizeBefore, length: size - sizeBefore }];
}
