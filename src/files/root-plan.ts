/** Which directories lead to the paths that were named, and which are wanted whole: a pure plan. */
import { posix } from "node:path";

import { assert } from "../errors.ts";
import { nameToBytes } from "../names.ts";

export interface RootPlan {
  /** Named on the command line: everything below it belongs to the backup. */
  readonly isWhole: boolean;
  /**
   * By name, in the order of the names' bytes. A whole node may have some: they are part of it, but may
   * be reached through a symlink that the walk itself does not follow.
   */
  readonly children: ReadonlyMap<string, RootPlan>;
}

interface Node {
  isWhole: boolean;
  children: Map<string, Node>;
}

/**
 * Merges paths, `.` and `..` taken out as text, into one tree that begins at `/`.
 *
 * @param cwd absolute; what relative paths start from
 */
export function plannedRoots(paths: readonly string[], cwd: string): RootPlan {
  assert(cwd.startsWith("/"), "the working directory is not absolute");
  const root: Node = { isWhole: false, children: new Map() };
  for (const path of paths) {
    let node = root;
    for (const name of namesOf(posix.resolve(cwd, path))) node = childOf(node, name);
    node.isWhole = true;
  }
  return sorted(root);
}

/** The paths that were named, below `at`. */
export function wholePaths(plan: RootPlan, at: string): string[] {
  const below = [...plan.children].flatMap(([name, child]) =>
    wholePaths(child, joinPath(at, name)),
  );
  return plan.isWhole ? [at, ...below] : below;
}

export function joinPath(directory: string, name: string): string {
  return directory === "/" ? `/${name}` : `${directory}/${name}`;
}

function namesOf(path: string): string[] {
  return path.split("/").filter((name) => name !== "");
}

function childOf(node: Node, name: string): Node {
  const known = node.children.get(name);
  if (known !== undefined) return known;
  const made: Node = { isWhole: false, children: new Map() };
  node.children.set(name, made);
  return made;
}

function sorted(node: Node): RootPlan {
  const children = [...node.children].sort(([a], [b]) =>
    Buffer.compare(nameToBytes(a), nameToBytes(b)),
  );
  return {
    isWhole: node.isWhole,
    children: new Map(children.map(([name, child]) => [name, sorted(child)])),
  };
}
