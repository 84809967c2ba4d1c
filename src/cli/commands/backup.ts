import { resolve } from "node:path";
import type { BackupOptions, BackupProgress, StreamInput } from "../../repo/index.ts";
import { UsageError } from "../../errors.ts";
import { printableName } from "../../names.ts";
import { parseBytes } from "../../sizes.ts";
import { backupIntoSeveral } from "../backup-into-several.ts";
import { readChangedMap } from "../changed-map.ts";
import { backupDocument, printBackup } from "../backup-report.ts";
import { commandOutput } from "../command-output.ts";
import { auditShare, diskOptions, diskSources } from "../disk-sources.ts";
import type { Host } from "../host.ts";
import type { Command, CommandArguments, CommandContext } from "../command.ts";
import { readPatternFiles } from "../pattern-files.ts";
import { repositoryChoices } from "../repository-choices.ts";

const deltaChoices = ["auto", "always", "never"] as const;
const levels = ["off", "fastest", "auto", "better", "max"] as const;

export const command: Command = {
  usage: "backup [path..]",
  summary: "Back up images, files and directories into a new snapshot",
  positionals: {
    path: { type: "string", array: true, describe: "image, block device, file or directory" },
  },
  options: {
    tag: {
      type: "string",
      array: true,
      nargs: 1,
      requiresArg: true,
      describe: "tag of the snapshot, `a,b` for two (repeatable)",
    },
    host: {
      type: "string",
      requiresArg: true,
      describe: "host name in the snapshot, instead of this one's",
    },
    time: {
      type: "string",
      requiresArg: true,
      describe: "time of the snapshot, instead of now: 2026-11-23 02:30:00",
    },
    exclude: {
      alias: "e",
      type: "string",
      array: true,
      nargs: 1,
      requiresArg: true,
      describe: "leave out what matches (repeatable)",
    },
    "exclude-file": {
      type: "string",
      array: true,
      nargs: 1,
      requiresArg: true,
      describe: "file with such patterns, one a line (repeatable)",
    },
    "one-file-system": {
      alias: "x",
      type: "boolean",
      describe: "do not cross into other file systems",
    },
    image: {
      type: "string",
      array: true,
      nargs: 1,
      requiresArg: true,
      describe: "what matches is a disk image, whatever it looks like",
    },
    "no-image": {
      type: "string",
      array: true,
      nargs: 1,
      requiresArg: true,
      describe: "what matches is no disk image",
    },
    "backing-dir": {
      type: "string",
      array: true,
      nargs: 1,
      requiresArg: true,
      describe: "backing files of qcow2 images may lie below it, too (repeatable)",
    },
    "disk-key-file": {
      type: "string",
      requiresArg: true,
      describe: "file that holds the passphrase of encrypted qcow2 images, as QEMU reads it",
    },
    "changed-map": {
      type: "string",
      requiresArg: true,
      describe: "JSON file of what changed on the one disk that is named: only that is read",
    },
    stdin: { type: "boolean", describe: "back up standard input" },
    "stdin-filename": {
      type: "string",
      requiresArg: true,
      default: "stdin",
      describe: "its path in the snapshot",
    },
    "stdin-from-command": {
      type: "boolean",
      describe: "back up what a command prints: … --stdin-from-command -- COMMAND ARG…",
    },
    parent: {
      type: "string",
      requiresArg: true,
      describe: "snapshot to compare with; the newest of this host and paths unless given",
    },
    force: {
      alias: "f",
      type: "boolean",
      describe: "read files whose size, times and inode have not changed, too",
    },
    "dry-run": { alias: "n", type: "boolean", describe: "do everything but store" },
    delta: {
      choices: deltaChoices,
      default: "auto",
      describe:
        "store changed chunks against what stood there before; auto: where the repository is near, or with a base cache",
    },
    "base-cache": {
      type: "string",
      requiresArg: true,
      describe:
        "folder for copies of what this host stores, so that deltas can be made when the repository is far away or not to be read (or ASHLAR_BASE_CACHE)",
    },
    "base-cache-size": {
      type: "string",
      requiresArg: true,
      default: "20G",
      describe: "what the base cache may grow to; the first backup's size is what it needs",
    },
    ...diskOptions,
    compression: {
      type: "string",
      requiresArg: true,
      default: "auto",
      describe: `${levels.join(", ")}, or zstd's level 1 to 19`,
    },
  },
  examples: [
    ["backup nbd://host:10809/disk", "a disk that an NBD server exports"],
    [
      "backup --qmp /run/vm1.sock --scratch /var/tmp",
      "all disks of a running machine as they are at one moment; the next time only what changed is read",
    ],
    [
      "backup --libvirt web1",
      "a domain of libvirt: its disks, its definition, its firmware's variables",
    ],
    [
      "backup /var/lib/libvirt/images/web1.raw",
      "a disk image: only what changed since last night is stored",
    ],
    ["backup /etc /home --exclude '*.tmp' --one-file-system", "directories"],
    [
      "backup --stdin-from-command --stdin-filename db.sql -- pg_dump app",
      "a command's output; if it fails nothing is committed",
    ],
    [
      "backup -r /srv/backup -r sftp://nas/backup --key-file a.key --key-file b.key web1.raw",
      "into two repositories, read once; one that fails does not stop the other",
    ],
  ],
  takesBackupKey: true,
  exitCodes: {
    3: "a snapshot was made, but something was left out or changed while it was read, or one of several repositories has none",
  },
  async run(context, args) {
    const options = backupOptions(context, args);
    const choices = repositoryChoices(context.host, args);
    const openDisks = diskSources(args);
    if (choices.length > 1) return backupIntoSeveral(context, choices, options, openDisks);
    const repository = await context.openRepository();
    const { backup } = await import("../../repo/index.ts");
    const { output, signal } = context;
    const [disks] = (await openDisks?.([repository], signal)) ?? [];
    const summary = await backup(
      repository,
      { ...options, disks },
      {
        signal,
        onProgress: (progress: BackupProgress) => {
          const current =
            progress.current === undefined ? undefined : printableName(progress.current);
          output.progress.update({ ...progress, current });
        },
        onWarning: (message: string) => {
          output.warn(message);
        },
        onFile: (path, state) => {
          output.detail(`${state} ${printableName(path)}`);
        },
      },
    );
    output.summary(backupDocument(summary));
    printBackup(output, summary);
    return summary.isIncomplete ? 3 : 0;
  },
};

function backupOptions({ host }: CommandContext, args: CommandArguments): BackupOptions {
  const paths = args.texts("path");
  const stream = streamInput(host.stdin, host.cwd, args);
  if (stream === undefined && paths.length === 0 && diskSources(args) === undefined) {
    throw new UsageError("Cannot back up: no path was given", {
      hint: "See: ashlar backup --help",
    });
  }
  const map = args.text("changed-map");
  if (map !== undefined && paths.length !== 1)
    throw new UsageError("Cannot use a changed map: name exactly one disk with it");
  const changed = map === undefined ? undefined : readChangedMap(resolve(host.cwd, map));
  return {
    paths: stream === undefined && diskSources(args) === undefined ? paths : [],
    audit: auditShare(args.text("audit")),
    cwd: host.cwd,
    stream,
    tags: args.texts("tag").flatMap((tags) => tags.split(",").filter((tag) => tag !== "")),
    hostname: args.text("host"),
    timeMs: parseTime(args.text("time")),
    excludes: [...args.texts("exclude"), ...readPatternFiles(args.texts("exclude-file"))],
    oneFileSystem: args.flag("one-file-system"),
    images: args.texts("image"),
    noImages: args.texts("no-image"),
    backingDirs: args.texts("backing-dir"),
    diskKeyFile: args.text("disk-key-file"),
    changes: changed?.changes,
    parent: args.text("parent") ?? changed?.since,
    force: args.flag("force"),
    dryRun: args.flag("dry-run"),
    delta: deltaChoices.find((choice) => choice === args.text("delta")),
    baseCache: baseCache(host, args),
    compression: compressionLevel(args.text("compression") ?? "auto"),
  };
}

function baseCache(host: Host, args: CommandArguments): BackupOptions["baseCache"] {
  const folder = args.text("base-cache") ?? host.env["ASHLAR_BASE_CACHE"];
  if (folder === undefined || folder === "") return undefined;
  return {
    folder: resolve(host.cwd, folder),
    bytesMost: parseBytes(args.text("base-cache-size") ?? "20G"),
  };
}

function streamInput(
  stdin: Host["stdin"],
  cwd: string,
  args: CommandArguments,
): StreamInput | undefined {
  const filename = args.text("stdin-filename") ?? "stdin";
  if (args.flag("stdin-from-command")) {
    const words = args.texts("path");
    if (words.length === 0) {
      throw new UsageError("Cannot back up a command's output: no command was given", {
        hint: "Give it after --",
      });
    }
    return { filename, ...commandOutput(words, cwd) };
  }
  if (!args.flag("stdin")) return undefined;
  if (args.texts("path").length > 0)
    throw new UsageError("Cannot back up standard input and paths in one snapshot");
  return { filename, bytes: stdin, cancel: () => stdin.destroy() };
}

function parseTime(text: string | undefined): number | undefined {
  if (text === undefined || text === "now") return undefined;
  const time = Date.parse(text.replace(" ", "T"));
  if (!Number.isNaN(time)) return time;
  throw new UsageError(`Cannot read time "${text}"`, {
    hint: 'Write it as "2026-11-23 02:30:00" or 2026-11-23T02:30:00Z',
  });
}

function compressionLevel(text: string): NonNullable<BackupOptions["compression"]> {
  const named = levels.find((level) => level === text);
  if (named !== undefined) return named;
  const level = Number(text);
  if (/^\d+$/.test(text) && level >= 1 && level <= 19) return level;
  throw new UsageError(`Cannot compress with "${text}"`, {
    hint: `One of ${levels.join(", ")}, or a level from 1 to 19`,
  });
}
