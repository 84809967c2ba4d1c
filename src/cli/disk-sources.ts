/** What of a backup's arguments names disks that are no files of this host. */
import { UsageError } from "../errors.ts";
import { isNbdUri } from "../nbd/index.ts";
import type { DiskSet, Repository } from "../repo/index.ts";
import type { CommandArguments } from "./command.ts";

export const diskOptions = {
  qmp: {
    type: "string",
    requiresArg: true,
    describe: "back up the disks of a running machine, by QEMU's QMP socket",
  },
  disk: {
    type: "string",
    array: true,
    nargs: 1,
    requiresArg: true,
    describe: "with --qmp: only this disk, by device or node (repeatable)",
  },
  agent: {
    type: "string",
    requiresArg: true,
    describe: "with --qmp: socket of the guest agent, which makes the guest quiet for the moment",
  },
  scratch: {
    type: "string",
    requiresArg: true,
    default: "/var/tmp",
    describe:
      "with --qmp: folder for what the guest overwrites meanwhile; QEMU must be able to write there",
  },
  audit: {
    type: "string",
    requiresArg: true,
    describe: "with --qmp: read so much of what is called unchanged, and compare: 1%",
  },
} as const;

export type OpenDisks = (repository: Repository, signal: AbortSignal) => Promise<DiskSet>;

/** @returns how to open them; undefined when paths or a stream are backed up */
export function diskSources(args: CommandArguments): OpenDisks | undefined {
  const paths = args.texts("path");
  const qmp = args.text("qmp");
  const uris = paths.filter(isNbdUri);
  if (qmp === undefined) {
    for (const name of ["disk", "agent", "audit"] as const)
      if (args.texts(name).length > 0) throw new UsageError(`--${name} belongs to --qmp`);
    if (uris.length === 0) return undefined;
    if (uris.length < paths.length || args.flag("stdin") || args.flag("stdin-from-command"))
      throw new UsageError("Cannot back up exports of NBD servers beside other things", {
        hint: "Make a snapshot of each: run backup twice",
      });
    return async (_repository, signal) => (await import("../repo/index.ts")).nbdDisks(uris, signal);
  }
  if (paths.length > 0 || args.flag("stdin") || args.flag("stdin-from-command"))
    throw new UsageError("Cannot back up a machine beside other things", {
      hint: "Make a snapshot of each: run backup twice",
    });
  return async (repository, signal) =>
    (await import("../repo/index.ts")).machineDisks(repository, {
      qmpPath: qmp,
      disks: args.texts("disk"),
      agentPath: args.text("agent"),
      scratchFolder: args.text("scratch") ?? "/var/tmp",
      force: args.flag("force"),
      signal,
    });
}

/** "1%" or "0.5 %": of what is called unchanged. @returns 0 to 1 */
export function auditShare(text: string | undefined): number {
  if (text === undefined) return 0;
  const share = Number(/^(\d+(?:\.\d+)?)\s*%$/.exec(text)?.[1] ?? Number.NaN) / 100;
  if (share >= 0 && share <= 1) return share;
  throw new UsageError(`Cannot audit "${text}"`, { hint: "Write a percentage: 1%" });
}
