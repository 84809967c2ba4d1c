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
  libvirt: {
    type: "string",
    requiresArg: true,
    describe: "back up a domain of libvirt with its definition: its disks, running or shut off",
  },
  connect: {
    type: "string",
    requiresArg: true,
    describe: "with --libvirt: libvirt's URI, as virsh takes it",
  },
  disk: {
    type: "string",
    array: true,
    nargs: 1,
    requiresArg: true,
    describe:
      "with --qmp: only this disk, by device or node; with --libvirt: by target, as vda (repeatable)",
  },
  agent: {
    type: "string",
    requiresArg: true,
    describe: "with --qmp: socket of the guest agent, which makes the guest quiet for the moment",
  },
  scratch: {
    type: "string",
    requiresArg: true,
    describe:
      "with --qmp, --libvirt: folder for what the guest overwrites meanwhile; QEMU must be able to write there. /var/tmp unless given, or libvirt's own for the domain",
  },
  audit: {
    type: "string",
    requiresArg: true,
    describe: "with --qmp, --libvirt: read so much of what is called unchanged, and compare: 1%",
  },
} as const;

/** @returns a set for each repository */
export type OpenDisks = (
  repositories: readonly Repository[],
  signal: AbortSignal,
) => Promise<readonly DiskSet[]>;

/** @returns how to open them; undefined when paths or a stream are backed up */
export function diskSources(args: CommandArguments): OpenDisks | undefined {
  const paths = args.texts("path");
  const qmp = args.text("qmp");
  const domain = args.text("libvirt");
  const uris = paths.filter(isNbdUri);
  assertTogether(args);
  if (qmp === undefined && domain === undefined) {
    if (uris.length === 0) return undefined;
    if (uris.length < paths.length || args.flag("stdin") || args.flag("stdin-from-command"))
      throw new UsageError("Cannot back up exports of NBD servers beside other things", {
        hint: "Make a snapshot of each: run backup twice",
      });
    return async ({ length }, signal) =>
      (await import("../repo/index.ts")).nbdDisks(uris, length, signal);
  }
  if (paths.length > 0 || args.flag("stdin") || args.flag("stdin-from-command"))
    throw new UsageError("Cannot back up a machine beside other things", {
      hint: "Make a snapshot of each: run backup twice",
    });
  const common = { disks: args.texts("disk"), force: args.flag("force") };
  if (domain !== undefined)
    return async (repositories, signal) =>
      (await import("../repo/index.ts")).libvirtDisks(repositories, {
        domain,
        connect: args.text("connect"),
        scratchFolder: args.text("scratch"),
        backingDirs: args.texts("backing-dir"),
        ...common,
        signal,
      });
  return async (repositories, signal) =>
    (await import("../repo/index.ts")).machineDisks(repositories, {
      qmpPath: qmp!,
      agentPath: args.text("agent"),
      scratchFolder: args.text("scratch") ?? "/var/tmp",
      ...common,
      signal,
    });
}

function assertTogether(args: CommandArguments): void {
  const isGiven = (name: string): boolean => args.text(name) !== undefined;
  if (isGiven("qmp") && isGiven("libvirt"))
    throw new UsageError("Cannot back up two machines at once: name one of --qmp and --libvirt");
  for (const [name, owners] of [
    ["disk", ["qmp", "libvirt"]],
    ["agent", ["qmp"]],
    ["audit", ["qmp", "libvirt"]],
    ["connect", ["libvirt"]],
  ] as const)
    if (args.texts(name).length > 0 && !owners.some(isGiven))
      throw new UsageError(`--${name} belongs to --${owners.join(" and --")}`);
}

/** "1%" or "0.5 %": of what is called unchanged. @returns 0 to 1 */
export function auditShare(text: string | undefined): number {
  if (text === undefined) return 0;
  const share = Number(/^(\d+(?:\.\d+)?)\s*%$/.exec(text)?.[1] ?? Number.NaN) / 100;
  if (share >= 0 && share <= 1) return share;
  throw new UsageError(`Cannot audit "${text}"`, { hint: "Write a percentage: 1%" });
}
