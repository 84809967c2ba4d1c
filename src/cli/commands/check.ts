import type { CheckReport, ReadSubset } from "../../repo/index.ts";
import { printableName } from "../../names.ts";
import type { Command, CommandArguments } from "../command.ts";
import type { Output } from "../output.ts";
import { formatBytes, plural } from "../text.ts";

export const command: Command = {
  usage: "check",
  summary: "Look for damage; changes nothing",
  options: {
    "read-data": { type: "boolean", describe: "read every pack and check every blob in it" },
    "read-data-subset": {
      type: "string",
      requiresArg: true,
      describe: "read some: 5% (longest unread first) or n/t (one of t parts, all parts are all)",
    },
  },
  examples: [
    ["check", "structure: is everything there that snapshots need?"],
    ["check --read-data-subset 5%", "and read a twentieth; repeated runs read all"],
    ["check --read-data-subset 2/7", "Tuesday's seventh"],
  ],
  exitCodes: { 20: "damage was found" },
  async run({ output, openRepository, signal }, args) {
    const { check, parseReadSubset } = await import("../../repo/index.ts");
    const readData = readSubset(args, parseReadSubset);
    const repository = await openRepository();
    const report = await check(
      repository,
      { readData },
      {
        signal,
        onProgress: ({ phase, bytesDone, bytesTotal, snapshotsDone }) => {
          const current = phase === "snapshots" ? plural(snapshotsDone, "snapshot") : phase;
          output.progress.update({ bytesDone, bytesTotal, current });
        },
      },
    );
    output.progress.clear();
    if (output.json) output.summary(reportDocument(report));
    else print(output, report);
    return report.errorCount === 0 ? 0 : 20;
  },
};

function readSubset(
  args: CommandArguments,
  parse: (text: string) => ReadSubset,
): ReadSubset | undefined {
  const subset = args.text("read-data-subset");
  if (subset !== undefined) return parse(subset);
  return args.flag("read-data") ? { kind: "all" } : undefined;
}

const pathsShown = 50;

function print(output: Output, report: CheckReport): void {
  for (const { message } of report.warnings) output.warn(printableName(message));
  for (const { message, writers } of report.errors) {
    const signed =
      writers === undefined || writers.length === 0 ? "" : ` (signed by ${writers.join(", ")})`;
    output.answer(`error: ${printableName(message)}${signed}`);
  }
  if (report.errorCount > report.errors.length)
    output.answer(`… and ${report.errorCount - report.errors.length} more errors`);
  for (const pack of report.damagedPacks) {
    output.answer(
      `damaged pack ${pack.name}: ${pack.damagedCount} of ${plural(pack.blobCount, "blob")} cannot be read from it, ${pack.lostCount} nowhere else`,
    );
    for (const id of output.options.verbose ? pack.damagedIds : []) output.answer(`  ${id}`);
  }
  const shown = output.options.verbose ? report.hurtPaths : report.hurtPaths.slice(0, pathsShown);
  for (const { snapshot, path, lostChunks, lostBytes, message } of shown) {
    const lost =
      lostChunks === 0 ? "" : `: ${plural(lostChunks, "chunk")}, ${formatBytes(lostBytes)}`;
    output.answer(
      `hurt ${snapshot.slice(0, 8)}:${printableName(path)}${lost} (${printableName(message)})`,
    );
  }
  if (report.hurtPathCount > shown.length)
    output.answer(`… and ${report.hurtPathCount - shown.length} more files or folders`);
  output.line(
    `${plural(report.snapshotCount, "snapshot")}, ${plural(report.packCount, "pack")} (${formatBytes(report.packBytes)}), ${plural(report.indexObjectCount, "index object")}`,
  );
  if (report.packsRead > 0)
    output.line(`Read ${plural(report.packsRead, "pack")}, ${formatBytes(report.bytesRead)}`);
  if (report.fencedCount > 0)
    output.line(
      `${plural(report.fencedCount, "snapshot")} of locked-out runs: no damage, prune removes them`,
    );
  if (report.unindexedPackCount > 0)
    output.line(
      `${plural(report.unindexedPackCount, "pack")} in no index: garbage or of a running backup, prune removes them`,
    );
  if (report.errorCount === 0) {
    output.line("No damage found");
    return;
  }
  output.answer(`${plural(report.errorCount, "error")} found`);
  output.talk(
    "Next: ashlar repair index, then ashlar repair snapshots. A backup of what is still there stores lost chunks again.",
  );
}

/** docs/json.md: check. */
function reportDocument(report: CheckReport): object {
  return {
    num_errors: report.errorCount,
    errors: report.errors,
    warnings: report.warnings,
    broken_packs: report.damagedPacks.map((pack) => ({
      id: pack.name,
      class: pack.cls,
      size: pack.size,
      faults: pack.faults,
      writers: pack.writers,
      blobs: pack.blobCount,
      blobs_damaged: pack.damagedCount,
      blobs_lost: pack.lostCount,
      damaged_ids: pack.damagedIds,
    })),
    hurt_snapshots: report.hurtSnapshots.map(({ id, time, hostname, hurtCount }) => ({
      id,
      short_id: id.slice(0, 8),
      time,
      hostname,
      hurt: hurtCount,
    })),
    hurt_paths: report.hurtPaths.map((hurt) => ({
      snapshot: hurt.snapshot,
      path: hurt.path,
      lost_chunks: hurt.lostChunks,
      lost_bytes: hurt.lostBytes,
      message: hurt.message,
    })),
    num_hurt_paths: report.hurtPathCount,
    snapshots: report.snapshotCount,
    fenced_snapshots: report.fencedCount,
    index_objects: report.indexObjectCount,
    packs: report.packCount,
    pack_bytes: report.packBytes,
    packs_unindexed: report.unindexedPackCount,
    packs_marked: report.markedPackCount,
    packs_read: report.packsRead,
    bytes_read: report.bytesRead,
    suggest_repair_index:
      report.damagedPacks.length > 0 || report.errors.some(({ kind }) => kind === "index"),
    suggest_prune: report.unindexedPackCount > 0,
  };
}
