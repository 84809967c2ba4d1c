/** The commands by name; each is loaded only when it is asked for. */
import { BugError } from "../../errors.ts";
import type { Command } from "../command.ts";

const loaders: Readonly<Record<string, () => Promise<{ readonly command: Command }>>> = {
  init: () => import("./init.ts"),
  key: () => import("./key.ts"),
  backup: () => import("./backup.ts"),
  snapshots: () => import("./snapshots.ts"),
  ls: () => import("./ls.ts"),
  find: () => import("./find.ts"),
  diff: () => import("./diff.ts"),
  restore: () => import("./restore.ts"),
  dump: () => import("./dump.ts"),
  cat: () => import("./cat.ts"),
  stats: () => import("./stats.ts"),
  tag: () => import("./tag.ts"),
  copy: () => import("./copy.ts"),
  forget: () => import("./forget.ts"),
  prune: () => import("./prune.ts"),
  check: () => import("./check.ts"),
  repair: () => import("./repair.ts"),
  serve: () => import("./serve.ts"),
  mount: () => import("./mount.ts"),
  guest: () => import("./guest.ts"),
  cache: () => import("./cache.ts"),
  completion: () => import("./completion.ts"),
  version: () => import("./version.ts"),
};

export const commandNames: readonly string[] = Object.keys(loaders);

export async function loadCommand(name: string): Promise<Command> {
  const load = loaders[name];
  if (load === undefined) throw new BugError(`No command ${name}`);
  return (await load()).command;
}
