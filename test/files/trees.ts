/** Real trees for tests, made and torn down with the system's own tools. */
import { spawnSync } from "node:child_process";
import {
  closeSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  readSync,
  realpathSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";

import type { FileProblem, RestoreOptions, WalkEvent, WalkOptions } from "../../src/files/index.ts";
import { plannedRoots, TreeRestorer, walk } from "../../src/files/index.ts";

/** Removed when the test that asked for it ends. */
export function makeFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "ashlar-files-"));
  // rm knows trees that are deeper than a path may be long.
  onTestFinished(() => void spawnSync("rm", ["-rf", folder]));
  return folder;
}

/** Runs a script in the folder; `$'…'` makes any byte. */
export function shell(folder: string, script: string): string {
  const done = spawnSync("bash", ["-euc", script], { cwd: folder, encoding: "latin1" });
  if (done.status !== 0) throw new Error(`${script}: ${done.stderr}`);
  return done.stdout;
}

/** How many descriptors this process holds on what is above or below `folder`: the test runner opens others. */
export function openBelowOrAbove(folder: string): number {
  const real = realpathSync(folder);
  return readdirSync("/proc/self/fd").filter((fd) => {
    try {
      const path = readlinkSync(`/proc/self/fd/${fd}`);
      const isAbove = path === "/" || `${real}/`.startsWith(`${path}/`);
      return isAbove || path.startsWith(`${real}/`);
    } catch {
      return false; // the listing's own
    }
  }).length;
}

/** Runs as an ordinary user: the tests themselves run as root. */
export async function asNobody<T>(act: () => Promise<T>): Promise<T> {
  const groups = process.getgroups!();
  process.setgroups!([]);
  process.setegid!(65534);
  process.seteuid!(65534);
  try {
    return await act();
  } finally {
    process.seteuid!(0);
    process.setegid!(0);
    process.setgroups!(groups);
  }
}

export async function walkAll(
  paths: readonly string[],
  options: WalkOptions = {},
  cwd = "/",
): Promise<WalkEvent[]> {
  const events: WalkEvent[] = [];
  for await (const event of walk(plannedRoots(paths, cwd), options)) events.push(event);
  return events;
}

/** The paths below `folder` of one kind of event, relative to it. */
export function pathsOf(
  events: readonly WalkEvent[],
  folder: string,
  kinds: readonly WalkEvent["kind"][],
): string[] {
  return events
    .filter(({ kind, path }) => kinds.includes(kind) && path.startsWith(`${folder}/`))
    .map(({ path }) => path.slice(folder.length + 1));
}

export interface Rebuilt {
  readonly problems: FileProblem[];
  readonly outcomes: Map<string, string>;
}

/** Walks `source` and restores it into `target`, as a backup and its restore would; contents are copied here. */
export async function rebuild(
  source: string,
  target: string,
  options: Partial<RestoreOptions> & { readonly inFlight?: number } = {},
): Promise<Rebuilt> {
  const problems: FileProblem[] = [];
  const outcomes = new Map<string, string>();
  const { inFlight = 7, ...rest } = options;
  const restorer = new TreeRestorer(target, {
    overwrite: "always",
    isRoot: true,
    onProblem: (problem) => problems.push(problem),
    ...rest,
  });
  const waiting: (() => void)[] = [];
  const finish = (left: number): void => {
    while (waiting.length > left) waiting.shift()?.();
  };
  for await (const event of walk(plannedRoots([source], "/"))) {
    if (event.kind === "problem") problems.push(event.problem);
    // What leads to the source is left out.
    if (event.path !== source && !event.path.startsWith(`${source}/`)) continue;
    if (event.kind === "enter") restorer.enterDirectory(event.name, event.metadata);
    else if (event.kind === "leave") restorer.leaveDirectory();
    else if (event.kind === "other")
      outcomes.set(event.path, restorer.restoreOther(event.name, event.metadata));
    else if (event.kind === "file") {
      const opened = event.open();
      if ("problem" in opened) {
        problems.push(opened.problem);
        continue;
      }
      const { file } = opened;
      const result = restorer.openFile(event.name, file.metadata);
      outcomes.set(event.path, result.kind);
      if (result.kind !== "write") {
        file.close();
        continue;
      }
      const restored = result.file;
      waiting.push(() => {
        for (const { offset, length, kind } of file.extents()) {
          const bytes = Buffer.alloc(length);
          if (kind === "data") readSync(file.fd, bytes, 0, length, offset);
          if (kind === "data" || !restored.isNew) writeSync(restored.fd, bytes, 0, length, offset);
        }
        closeSync(file.fd);
        restorer.finishFile(restored);
      });
      finish(inFlight);
    }
  }
  finish(0);
  restorer.close();
  return { problems, outcomes };
}

/** What rsync would still have to do to make `copy` like `source`. */
export function differences(source: string, copy: string): string {
  return shell("/", `rsync -aHAXn --checksum --delete --itemize-changes '${source}/' '${copy}/'`);
}
