import { posix } from "node:path";

export interface SnapshotPath {
  /** Id, prefix, or `latest`. */
  readonly snapshot: string;
  /** In the snapshot, absolute; undefined when none was named. */
  readonly path: string | undefined;
}

/** `SNAP` or `SNAP:PATH`: no id holds a colon, a path may. */
export function parseSnapshotPath(text: string): SnapshotPath {
  const colon = text.indexOf(":");
  if (colon < 0) return { snapshot: text, path: undefined };
  return { snapshot: text.slice(0, colon), path: absolutePath(text.slice(colon + 1)) };
}

/** Paths of a snapshot begin at its root, whether that is written or not. */
export function absolutePath(path: string): string {
  return posix.resolve("/", path);
}
