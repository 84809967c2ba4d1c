/** What happens to an entry that already stands where one is to be restored. */
import type { FileMetadata } from "../file-metadata.ts";
import type { StatNs } from "../posix/index.ts";

/** restic's names, and meanings. */
export const overwritePolicies = ["always", "if-changed", "if-newer", "never"] as const;
export type OverwritePolicy = (typeof overwritePolicies)[number];

export type Verdict =
  /** Nothing is there. */
  | "create"
  /** Take its place. */
  | "replace"
  /** Its content is right already; owner, mode, attributes and times are set. */
  | "keep-content"
  /** Not touched at all. */
  | "leave";

export function decideOverwrite(
  policy: OverwritePolicy,
  existing: Pick<StatNs, "type" | "size" | "mtimeNs"> | undefined,
  wanted: FileMetadata,
): Verdict {
  if (existing === undefined) return "create";
  switch (policy) {
    case "always":
      return "replace";
    case "never":
      return "leave";
    case "if-newer":
      return wanted.mtimeNs > existing.mtimeNs ? "replace" : "leave";
    case "if-changed":
      return isComplete(existing, wanted) ? "keep-content" : "replace";
  }
}

/** The time of modification is set when all else is done: a file that was cut off half-way has another. */
function isComplete(
  existing: Pick<StatNs, "type" | "size" | "mtimeNs">,
  wanted: FileMetadata,
): boolean {
  const isFile = existing.type === "file" && wanted.type === "file";
  return isFile && existing.size === wanted.size && existing.mtimeNs === wanted.mtimeNs;
}
