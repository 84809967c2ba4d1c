import type { CopyProgress, CopySummary } from "../../repo/index.ts";
import { UsageError } from "../../errors.ts";
import type { Command, CommandArguments, CommandContext } from "../command.ts";
import type { Host } from "../host.ts";
import type { RepositoryChoice } from "../open-repository.ts";
import { credentialSources, filterOptions, fromCredentialOptions } from "../options.ts";
import { formatBytes, formatSeconds, plural } from "../text.ts";

export const command: Command = {
  usage: "copy [snapshot..]",
  summary: "Copy snapshots from another repository into this one",
  positionals: {
    snapshot: {
      type: "string",
      array: true,
      describe: "ids, or latest; all that the options let through unless given",
    },
  },
  options: {
    from: {
      alias: "from-repo",
      type: "string",
      requiresArg: true,
      describe: "repository to copy from (or ASHLAR_FROM_REPO)",
    },
    ...fromCredentialOptions,
    ...filterOptions,
    "dry-run": { alias: "n", type: "boolean", describe: "only say what would be copied" },
  },
  examples: [
    ["-r /mnt/offsite copy --from /srv/backup", "every snapshot that is not there yet"],
    [
      "-r sftp://nas/backup copy --from /srv/backup --from-key-file /etc/ashlar/key latest --host web1",
      "the newest of one host",
    ],
  ],
  exitCodes: { 3: "some snapshots could not be copied: they are damaged in the source" },
  async run(context, args) {
    const { host, output, signal, openRepository } = context;
    const choice = fromRepository(host, args);
    const source = await openRepository(choice);
    const target = await openRepository();
    const { copySnapshots } = await import("../../repo/index.ts");
    const summary = await copySnapshots(
      source,
      target,
      {
        snapshots: args.texts("snapshot"),
        filter: {
          hosts: args.texts("host"),
          tags: args.texts("tag"),
          paths: args.texts("path"),
        },
        dryRun: args.flag("dry-run"),
      },
      {
        signal,
        onProgress: (progress: CopyProgress) => {
          const { bytesDone, snapshotsDone, snapshotsTotal, current } = progress;
          output.progress.update({
            bytesDone,
            bytesSent: target.environment.traffic?.bytesSent,
            current: `${snapshotsDone + 1} of ${snapshotsTotal}: ${current.slice(0, 8)}`,
          });
        },
        onCopied: ({ sourceId, targetId }) => {
          output.line(`${sourceId.slice(0, 8)} is there as ${targetId?.slice(0, 8) ?? ""}`);
        },
        onWarning: (message) => {
          output.warn(message);
        },
      },
    );
    report(context, summary, args.flag("dry-run"), target.environment.traffic);
    return summary.failed.length > 0 ? 3 : 0;
  },
};

function fromRepository(host: Host, args: CommandArguments): RepositoryChoice {
  const location = args.text("from") ?? host.env["ASHLAR_FROM_REPO"];
  if (location === undefined || location === "") {
    throw new UsageError("Cannot find the repository to copy from: none was named", {
      hint: "Give --from REPO or set ASHLAR_FROM_REPO",
    });
  }
  return { location, sources: credentialSources(args, "from-"), variables: "ASHLAR_FROM_" };
}

function report(
  { output }: CommandContext,
  summary: CopySummary,
  dryRun: boolean,
  traffic: { readonly bytesSent: number; readonly requests: number } | undefined,
): void {
  output.summary({
    dry_run: dryRun,
    snapshots: summary.copied.map(({ sourceId, targetId }) => ({
      source_id: sourceId,
      snapshot_id: targetId,
    })),
    skipped: summary.skipped,
    failed: summary.failed.map(({ sourceId, message }) => ({ source_id: sourceId, message })),
    bytes_read: summary.bytesRead,
    bytes_stored: summary.bytesStored,
    bytes_sent: traffic?.bytesSent,
    chunks_new: summary.chunksNew,
    chunks_delta: summary.chunksDelta,
    cuts_alike: summary.cutsAlike,
    duration_s: summary.durationSeconds,
  });
  if (!summary.cutsAlike) {
    output.line(
      "The two repositories cut differently: what hosts back up into this one is not shared with the copies.",
    );
  }
  const copied = plural(summary.copied.length, "snapshot");
  if (dryRun) {
    output.line(`would copy ${copied}, ${summary.skipped} there already`);
    return;
  }
  output.line(
    `copied ${copied}, ${summary.skipped} there already: read ${formatBytes(summary.bytesRead)}, ` +
      `new ${plural(summary.chunksNew, "chunk")} (${plural(summary.chunksDelta, "delta")}), ` +
      `stored ${formatBytes(summary.bytesStored)} in ${formatSeconds(summary.durationSeconds)}`,
  );
}
