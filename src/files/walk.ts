/**
 * Walks trees of files, depth first, the entries of a directory in the order of their names' bytes, which
 * is the order of a tree's nodes: a backup builds each directory when it is left.
 *
 * Held in memory are the names of the directories on the way down, as one-byte strings, and nothing else.
 * Symlinks are not followed, but for those in the path to a root. What cannot be read is told and passed
 * over. System calls are synchronous (a cached lstat takes 3 µs, one through the thread pool 40); between
 * batches of them other work gets its turn.
 */
import { readdirSync } from "node:fs";
import { setImmediate as turn } from "node:timers/promises";

import type { FileMetadata } from "../file-metadata.ts";
import { nameFromBytes, nameToBytes } from "../names.ts";
import { errnoCode, fstatatNs, posixCalls } from "../posix/index.ts";
import { describeDirectory, describeEntry } from "./entry-metadata.ts";
import { DirectoryPool } from "./open-directory.ts";
import type { OpenDirectory } from "./open-directory.ts";
import type { PathMatcher } from "./path-patterns.ts";
import { isRefusal, problem, reasonOf } from "./problem.ts";
import type { FileProblem } from "./problem.ts";
import { joinPath, wholePaths } from "./root-plan.ts";
import type { RootPlan } from "./root-plan.ts";
import { openSource } from "./source-file.ts";
import type { OpenedSource } from "./source-file.ts";

export type WalkEvent =
  | {
      readonly kind: "enter";
      readonly path: string;
      /** Empty for `/`. */
      readonly name: string;
      readonly metadata: FileMetadata;
      /** False: its entries were left out, as another file system or by `shouldDescend`. */
      readonly isListed: boolean;
    }
  | {
      readonly kind: "file";
      readonly path: string;
      readonly name: string;
      readonly metadata: FileMetadata;
      /** May be called until the walk ends. The caller closes the file, and bounds how many are open. */
      readonly open: () => OpenedSource;
    }
  /** Symlinks, devices, fifos, sockets. */
  | {
      readonly kind: "other";
      readonly path: string;
      readonly name: string;
      readonly metadata: FileMetadata;
    }
  | { readonly kind: "leave"; readonly path: string; readonly name: string }
  | { readonly kind: "problem"; readonly path: string; readonly problem: FileProblem };

export interface WalkOptions {
  readonly excludes?: PathMatcher;
  /** Directories on another device than the named path above them are kept, empty. */
  readonly oneFileSystem?: boolean;
  /** Asked for every directory but those on the way to a root; false keeps it, empty. */
  readonly shouldDescend?: (path: string, metadata: FileMetadata) => boolean;
  readonly signal?: AbortSignal;
}

interface Frame {
  readonly directory: OpenDirectory;
  readonly path: string;
  readonly name: string;
  readonly plan: RootPlan | undefined;
  readonly isWhole: boolean;
  /** The device of the nearest named path; undefined above the roots. */
  readonly device: bigint | undefined;
  /** Bytes as characters (latin1), last first; taken from as the walk goes on. */
  readonly names: string[];
}

const entriesPerTurn = 256;
const noChildren: RootPlan["children"] = new Map();

/** The events of a whole run, from the `enter` of `/` to its `leave`. */
export async function* walk(plan: RootPlan, options: WalkOptions = {}): AsyncGenerator<WalkEvent> {
  const pool = new DirectoryPool();
  const stack: Frame[] = [];
  const walker = new Walker(stack, options);
  const { missing, reason } = posixCalls();
  if (missing.includes("llistxattr")) yield problemEvent(withoutXattrs(reason));
  try {
    yield* walker.enter(pool.openRoot("/"), "", "/", plan, undefined);
    for (let count = 1; stack.length > 0; count++) {
      const frame = stack.at(-1)!;
      const raw = frame.names.pop();
      if (raw !== undefined) yield* walker.visit(frame, raw);
      else {
        stack.pop();
        frame.directory.close();
        yield { kind: "leave", path: frame.path, name: frame.name };
      }
      if (count % entriesPerTurn === 0) await turn();
      options.signal?.throwIfAborted();
    }
  } finally {
    pool.closeAll();
  }
}

class Walker {
  readonly #stack: Frame[];
  readonly #options: WalkOptions;

  constructor(stack: Frame[], options: WalkOptions) {
    this.#stack = stack;
    this.#options = options;
  }

  *visit(frame: Frame, raw: string): Generator<WalkEvent> {
    const name = decodeName(raw);
    const path = joinPath(frame.path, name);
    const plan = frame.plan?.children.get(name);
    const isWhole = frame.isWhole || plan?.isWhole === true;
    if (isWhole && this.#options.excludes?.matches(path) === true) return;
    try {
      yield* this.#visitEntry(frame, name, path, plan, isWhole);
    } catch (error) {
      if (!isRefusal(error)) throw error;
      const kind = errnoCode(error) === "ENOENT" ? "vanished" : "unreadable";
      yield problemEvent(problem(kind, path, "read", error));
    }
  }

  *#visitEntry(
    frame: Frame,
    name: string,
    path: string,
    plan: RootPlan | undefined,
    isWhole: boolean,
  ): Generator<WalkEvent> {
    const stat = fstatatNs(frame.directory.fd(), name);
    // Only what lies on the way to a root may be reached through a symlink.
    const follows = stat?.type === "symlink" && plan !== undefined && plan.children.size > 0;
    if (stat === undefined) {
      const gone = plan === undefined ? [] : wholePaths(plan, path);
      if (gone.length === 0) yield problemEvent(problem("vanished", path, "read", "it went away"));
      for (const root of gone) yield missingEvent(root);
    } else if (stat.type === "dir" || follows) {
      const directory = this.#openChild(frame, name, follows);
      if (directory !== undefined)
        yield* this.enter(directory, name, path, plan, frame, isWhole && !follows);
      else for (const root of wholePaths(plan!, path)) yield missingEvent(root);
    } else {
      if (plan !== undefined)
        for (const root of wholePaths(plan, path)) if (root !== path) yield missingEvent(root);
      if (!isWhole) return;
      const { metadata, xattrFault } = describeEntry(frame.directory, name, stat);
      if (xattrFault !== undefined) yield problemEvent(withoutItsXattrs(path, xattrFault));
      if (metadata.type !== "file") yield { kind: "other", path, name, metadata };
      else
        yield {
          kind: "file",
          path,
          name,
          metadata,
          open: () => openSource(frame.directory, name, path, metadata),
        };
    }
  }

  /** @returns undefined when a symlink on the way to a root leads to no directory */
  #openChild(frame: Frame, name: string, follows: boolean): OpenDirectory | undefined {
    try {
      return frame.directory.child(name, follows);
    } catch (error) {
      const code = errnoCode(error);
      if (follows && (code === "ENOENT" || code === "ENOTDIR")) return undefined;
      throw error;
    }
  }

  *enter(
    directory: OpenDirectory,
    name: string,
    path: string,
    plan: RootPlan | undefined,
    parent: Frame | undefined,
    isWhole = plan?.isWhole === true,
  ): Generator<WalkEvent> {
    const { metadata, xattrFault } = describeDirectory(directory);
    const device = plan?.isWhole === true ? metadata.deviceId : parent?.device;
    const isListed = !isWhole || this.#isWanted(path, metadata, device);
    const faults = xattrFault === undefined ? [] : [withoutItsXattrs(path, xattrFault)];
    const names = this.#names(
      directory,
      path,
      isWhole && isListed,
      plan?.children ?? noChildren,
      faults,
    );
    this.#stack.push({ directory, path, name, plan, isWhole, device, names });
    yield { kind: "enter", path, name, metadata, isListed };
    for (const fault of faults) yield problemEvent(fault);
  }

  #isWanted(path: string, metadata: FileMetadata, device: bigint | undefined): boolean {
    if (this.#options.oneFileSystem === true && metadata.deviceId !== device) return false;
    return this.#options.shouldDescend?.(path, metadata) ?? true;
  }

  /** Names yet to be visited, last first: all there are, and those that lead to a root. */
  #names(
    directory: OpenDirectory,
    path: string,
    isListed: boolean,
    planned: RootPlan["children"],
    faults: FileProblem[],
  ): string[] {
    let names: string[] = [];
    if (isListed) {
      try {
        names = readdirSync(`/proc/self/fd/${directory.fd()}`, "latin1");
      } catch (error) {
        faults.push(problem("unreadable", path, "list directory", error));
      }
    }
    for (const name of planned.keys()) {
      const raw = nameToBytes(name).toString("latin1");
      if (!isListed || !names.includes(raw)) names.push(raw);
    }
    // Code units are bytes here, so the default order is that of the bytes. (Node happens to sort, without a promise.)
    return names.sort().reverse();
  }
}

function decodeName(raw: string): string {
  return /^[\x00-\x7f]*$/.test(raw) ? raw : nameFromBytes(Buffer.from(raw, "latin1"));
}

function problemEvent(fault: FileProblem): WalkEvent {
  return { kind: "problem", path: fault.path, problem: fault };
}

function missingEvent(path: string): WalkEvent {
  return problemEvent(problem("missing", path, "back up", "it does not exist"));
}

function withoutItsXattrs(path: string, cause: unknown): FileProblem {
  return problem("metadata", path, "keep the extended attributes of", cause);
}

function withoutXattrs(cause: unknown): FileProblem {
  return problem("metadata", "/", "keep extended attributes and ACLs below", reasonOf(cause));
}
