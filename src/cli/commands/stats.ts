import type { StatsReport } from "../../repo/index.ts";
import type { Command } from "../command.ts";
import { filterOptions } from "../options.ts";
import type { Output } from "../output.ts";
import { formatBytes, plural } from "../text.ts";
import { snapshotFilter } from "./snapshots.ts";

export const command: Command = {
  usage: "stats [snapshot..]",
  summary: "Show how large snapshots are, restored and stored",
  positionals: {
    snapshot: {
      type: "string",
      array: true,
      describe: "only these: ids, prefixes or latest; all unless given",
    },
  },
  options: {
    ...filterOptions,
    mode: {
      choices: ["restore-size", "raw-data"] as const,
      describe: "as restic has it: which of the sizes total_size is with --json",
    },
  },
  examples: [
    ["stats", "everything"],
    ["stats latest --host web1", "what one restore writes, and from how many packs"],
  ],
  async run({ output, openRepository, signal }, args) {
    const repository = await openRepository();
    const { stats } = await import("../../repo/index.ts");
    const wanted = args.texts("snapshot");
    const options = {
      snapshots: wanted.length === 0 ? undefined : wanted,
      filter: snapshotFilter(args),
    };
    const report = await stats(repository, options, { signal });
    if (output.json) output.document(document(report, args.text("mode") ?? "restore-size"));
    else print(output, report);
    return 0;
  },
};

function print(output: Output, report: StatsReport): void {
  const row = (title: string, text: string): void => {
    output.answer(`${`${title}:`.padEnd(22)} ${text}`);
  };
  const { repository } = report;
  row("Snapshots", String(report.snapshotCount));
  row("Restored", `${formatBytes(report.restoreBytes)} in ${plural(report.fileCount, "file")}`);
  row(
    "Each chunk once",
    `${formatBytes(report.plainBytes)} in ${plural(report.chunkCount, "chunk")}, ${plural(report.treeCount, "tree node")}`,
  );
  row("Stored", `${formatBytes(report.storedBytes)} (${ratio(report).toFixed(2)} to 1)`);
  row(
    "Of that deltas",
    `${formatBytes(report.deltaStoredBytes)} for ${formatBytes(report.deltaPlainBytes)} in ${plural(report.deltaCount, "chunk")}`,
  );
  row("A restore reads", plural(report.packsTouched, "pack"));
  row(
    "Whole repository",
    `${formatBytes(repository.totalBytes)}: ${plural(repository.packCount, "pack")} (${formatBytes(repository.packBytes)}), ${plural(repository.indexObjectCount, "object")} in index/ (${formatBytes(repository.indexBytes)})`,
  );
  if (report.missingCount > 0)
    output.warn(`${plural(report.missingCount, "blob")} are missing: run ashlar check`);
}

function ratio({ plainBytes, storedBytes }: StatsReport): number {
  return storedBytes === 0 ? 1 : plainBytes / storedBytes;
}

/** docs/json.md: stats. */
function document(report: StatsReport, mode: string): object {
  const { repository } = report;
  return {
    total_size: mode === "raw-data" ? report.storedBytes : report.restoreBytes,
    total_file_count: report.fileCount,
    total_blob_count: report.chunkCount + report.treeCount,
    snapshots_count: report.snapshotCount,
    restore_size: report.restoreBytes,
    total_uncompressed_size: report.plainBytes,
    raw_data_size: report.storedBytes,
    compression_ratio: ratio(report),
    chunks: report.chunkCount,
    trees: report.treeCount,
    delta_chunks: report.deltaCount,
    delta_plain_size: report.deltaPlainBytes,
    delta_stored_size: report.deltaStoredBytes,
    packs_touched: report.packsTouched,
    blobs_missing: report.missingCount,
    repository: {
      total_size: repository.totalBytes,
      packs: repository.packCount,
      pack_bytes: repository.packBytes,
      index_objects: repository.indexObjectCount,
      index_bytes: repository.indexBytes,
      snapshot_objects: repository.snapshotObjectCount,
      snapshot_bytes: repository.snapshotBytes,
    },
  };
}
