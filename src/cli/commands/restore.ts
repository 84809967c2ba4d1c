import { resolve } from "node:path";
import type { RestoreFormat, RestoreOptions, RestoreSummary } from "../../repo/index.ts";
import { CorruptionError, FailedError, UsageError } from "../../errors.ts";
import { printableName } from "../../names.ts";
import type { Command, CommandArguments, CommandContext } from "../command.ts";
import { filterOptions } from "../options.ts";
import { readPatternFiles } from "../pattern-files.ts";
import { parseSnapshotPath } from "../snapshot-path.ts";
import { formatBytes, formatSeconds, plural } from "../text.ts";
import { restoreHooks } from "../restore-hooks.ts";
import { runRestoreDomain } from "../restore-domain.ts";
import { snapshotFilter } from "./snapshots.ts";

const policies = ["always", "if-changed", "if-newer", "never"] as const;
const formats = ["raw", "qcow2"] as const satisfies readonly RestoreFormat[];
const patternOption = { type: "string", array: true, nargs: 1, requiresArg: true } as const;

export const command: Command = {
  usage: "restore <snapshot>",
  summary: "Bring files, directories or disk images back",
  positionals: {
    snapshot: {
      type: "string",
      demandOption: true,
      describe: "id, prefix or `latest`; with :PATH only what is there",
    },
  },
  options: {
    target: {
      alias: "t",
      type: "string",
      requiresArg: true,
      describe: "directory: gets full paths, or with SNAP:PATH the contents of PATH",
    },
    to: {
      type: "string",
      requiresArg: true,
      describe:
        "file or block device that gets the content of the one file SNAP:PATH, or of the only disk",
    },
    format: {
      choices: formats,
      requiresArg: true,
      describe:
        "what becomes of a disk. raw (default) is written in place. qcow2 with --to is a new file, of the kind it was backed up from, that replaces an old one when it is whole; with --target the disks that were qcow2 files become such files again",
    },
    libvirt: {
      type: "boolean",
      describe:
        "bring a domain back: its disks where its definition says, or below --target, and the definition",
    },
    connect: {
      type: "string",
      requiresArg: true,
      describe: "with --libvirt: libvirt's URI, as virsh takes it",
    },
    name: {
      type: "string",
      requiresArg: true,
      describe: "with --libvirt: another name, with an identity and network addresses of its own",
    },
    replace: {
      type: "boolean",
      describe: "with --libvirt: over a domain that is shut off, and over files that exist",
    },
    "trust-definition": {
      type: "boolean",
      describe:
        "with --libvirt: also where a backup key wrote a definition that wants more of this host than its own disks",
    },
    include: {
      alias: "i",
      ...patternOption,
      describe: "only what matches, as paths are below the target (repeatable)",
    },
    "include-file": {
      ...patternOption,
      describe: "file with such patterns, one a line (repeatable)",
    },
    exclude: { alias: "e", ...patternOption, describe: "not what matches (repeatable)" },
    "exclude-file": {
      ...patternOption,
      describe: "file with such patterns, one a line (repeatable)",
    },
    overwrite: {
      choices: policies,
      default: "always",
      describe: "what stands in the target; only bytes that differ are ever written",
    },
    verify: { type: "boolean", describe: "read back what was restored, and compare" },
    sparse: { type: "boolean", describe: "accepted for restic's scripts: holes are always kept" },
    "dry-run": { alias: "n", type: "boolean", describe: "only say what would be restored" },
    ...filterOptions,
  },
  examples: [
    ["restore latest --host web1 --target /mnt/rescue", "all of the newest backup of a host"],
    [
      "restore 4f3a:/srv/images/web1.raw --to /dev/vg0/web1",
      "a disk; where it holds the right bytes already nothing is written",
    ],
    ["restore 4f3a:/srv/images/web1.qcow2 --to web1.qcow2 --format qcow2", "a qcow2 file again"],
    [
      "restore latest --target /srv/rescue --format qcow2",
      "a tree, and what was a qcow2 file is one",
    ],
    ["restore latest --libvirt", "the domain of a backup --libvirt, defined again with its disks"],
    [
      "restore latest --libvirt --name web1-copy --target /srv/images",
      "the same beside the one that runs",
    ],
    ["restore latest:/etc --target /tmp/etc --verify", "one directory's contents, read back"],
  ],
  exitCodes: {
    3: "some entries could not be restored",
    20: "some data is lost, the rest was restored",
  },
  async run(context, args) {
    if (args.flag("libvirt")) return runRestoreDomain(context, args);
    for (const name of ["connect", "name", "replace", "trust-definition"])
      if (args.flag(name) || args.text(name) !== undefined)
        throw new UsageError(`--${name} belongs to --libvirt`);
    const options = restoreOptions(context, args);
    const repository = await context.openRepository();
    const { restore } = await import("../../repo/index.ts");
    const summary = await restore(repository, options, restoreHooks(context));
    report(context, summary, options);
    return exitCode(summary);
  },
};

function restoreOptions({ host }: CommandContext, args: CommandArguments): RestoreOptions {
  const { snapshot, path } = parseSnapshotPath(args.word("snapshot"));
  const overwrite = args.text("overwrite");
  const format = formats.find((name) => name === args.text("format"));
  return {
    snapshot,
    filter: snapshotFilter(args),
    path,
    target: target(host.cwd, args),
    format,
    include: [...args.texts("include"), ...readPatternFiles(args.texts("include-file"))],
    exclude: [...args.texts("exclude"), ...readPatternFiles(args.texts("exclude-file"))],
    overwrite: policies.find((policy) => policy === overwrite),
    verify: args.flag("verify"),
    dryRun: args.flag("dry-run"),
  };
}

function target(cwd: string, args: CommandArguments): RestoreOptions["target"] {
  const directory = args.text("target");
  const file = args.text("to");
  if ((directory === undefined) === (file === undefined)) {
    throw new UsageError("Cannot restore: name one of --target and --to", {
      hint: "--target DIR for trees, --to FILE_OR_DEVICE for one image",
    });
  }
  return directory === undefined
    ? { kind: "file", path: resolve(cwd, file!) }
    : { kind: "directory", path: resolve(cwd, directory) };
}

function report(
  { output }: CommandContext,
  summary: RestoreSummary,
  { dryRun, target }: RestoreOptions,
): void {
  output.summary({
    snapshot_id: summary.snapshotId,
    target: target.path,
    total_files: summary.filesTotal,
    files_restored: summary.filesRestored,
    files_skipped: summary.filesSkipped,
    total_bytes: summary.bytesTotal,
    bytes_restored: summary.bytesRestored,
    bytes_skipped: summary.bytesSkipped,
    bytes_written: summary.bytesWritten,
    bytes_fetched: summary.bytesFetched,
    damaged: summary.damaged,
    damaged_count: summary.damagedCount,
    unequal: summary.unequal,
    unequal_count: summary.unequalCount,
    failed_count: summary.failedCount,
    dry_run: dryRun,
    duration_s: summary.durationSeconds,
  });
  const total = `${plural(summary.filesTotal, "file")} of ${formatBytes(summary.bytesTotal)}`;
  if (dryRun === true) {
    output.line(`would restore ${total} to ${printableName(target.path)}`);
    return;
  }
  const skipped = summary.filesSkipped === 0 ? "" : `, ${summary.filesSkipped} left as they were`;
  output.line(
    `restored ${summary.filesRestored} of ${total} to ${printableName(target.path)}${skipped}`,
  );
  output.line(
    `wrote ${formatBytes(summary.bytesWritten)}, found ${formatBytes(summary.bytesSkipped)} in place, ` +
      `fetched ${formatBytes(summary.bytesFetched)} in ${formatSeconds(summary.durationSeconds)}`,
  );
}

function exitCode(summary: RestoreSummary): number {
  const { damagedCount, unequalCount } = summary;
  if (damagedCount > 0) {
    throw new CorruptionError(
      `Cannot restore all: data of ${plural(damagedCount, "path")} is lost`,
      {
        hint: "The rest was restored. See: ashlar check --read-data; an older snapshot may hold the lost files",
      },
    );
  }
  if (unequalCount > 0) {
    throw new FailedError(
      `Cannot verify ${plural(unequalCount, "file")}: it reads back otherwise`,
      {
        hint: "The target does not keep what is written to it: look at its disk and the system's log",
      },
    );
  }
  return summary.failedCount > 0 ? 3 : 0;
}
