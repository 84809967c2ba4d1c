import { printableName } from "../../names.ts";
import type { RepairedSnapshot, RepairIndexSummary } from "../../repo/index.ts";
import type { Command } from "../command.ts";
import type { Output } from "../output.ts";
import { plural } from "../text.ts";

const dryRun = {
  "dry-run": { alias: "n", type: "boolean", describe: "only say what would be done" },
} as const;

const index: Command = {
  usage: "index",
  summary: "Rebuild the index from the packs that are there",
  options: {
    ...dryRun,
    "read-all-packs": {
      type: "boolean",
      describe: "read every pack whole, not only those that look wrong or that check found damaged",
    },
  },
  examples: [
    ["repair index", "after a check that found damaged packs or index objects"],
    ["repair index --read-all-packs", "when nobody knows what is damaged"],
  ],
  exitCodes: { 11: "another prune or repair is at work" },
  async run({ output, openRepository, signal }, args) {
    const repository = await openRepository();
    const { repairIndex } = await import("../../repo/index.ts");
    const isDry = args.flag("dry-run");
    const options = { dryRun: isDry, readAllPacks: args.flag("read-all-packs") };
    const summary = await repairIndex(repository, options, {
      signal,
      onProgress: (progress) => {
        output.progress.update(progress);
      },
    });
    output.progress.clear();
    output.summary({ dry_run: isDry, ...indexDocument(summary) });
    printIndex(output, summary);
    return 0;
  },
};

const snapshots: Command = {
  usage: "snapshots [id..]",
  summary: "Write new snapshots without what is lost",
  positionals: {
    id: { type: "string", array: true, describe: "only these: ids or prefixes; all unless given" },
  },
  options: {
    ...dryRun,
    forget: { type: "boolean", describe: "forget the broken ones" },
  },
  examples: [
    ["repair snapshots --dry-run", "what is lost"],
    ["repair snapshots --forget", "cut it out; prune then drops the rest"],
  ],
  async run({ output, openRepository, signal }, args) {
    const repository = await openRepository();
    const { repairSnapshots } = await import("../../repo/index.ts");
    const ids = args.texts("id");
    const isDry = args.flag("dry-run");
    const options = {
      snapshots: ids.length === 0 ? undefined : ids,
      forget: args.flag("forget"),
      dryRun: isDry,
    };
    const summary = await repairSnapshots(repository, options, { signal });
    output.summary({
      dry_run: isDry,
      snapshots: summary.snapshotCount,
      repaired: summary.repaired.map(snapshotDocument),
      forgotten: summary.forgotten,
    });
    for (const repaired of summary.repaired) printSnapshot(output, repaired);
    if (summary.repaired.length === 0)
      output.line(`Nothing is lost in ${plural(summary.snapshotCount, "snapshot")}`);
    if (summary.forgotten.length > 0)
      output.line(`Forgot ${plural(summary.forgotten.length, "snapshot")}`);
    return 0;
  },
};

export const command: Command = {
  usage: "repair",
  summary: "Mend the index; cut what is lost out of snapshots",
  subcommands: [index, snapshots],
  examples: [...index.examples, ...snapshots.examples],
};

function printIndex(output: Output, summary: RepairIndexSummary): void {
  const list = (title: string, names: readonly string[]): void => {
    if (names.length === 0) return;
    output.line(`${title}: ${names.length}`);
    for (const name of output.options.verbose ? names : names.slice(0, 20))
      output.line(`  ${name}`);
  };
  list("Packs put into the index from their footers", summary.packsAdded);
  list("Packs taken out, because they are gone", summary.packsMissing);
  list("Packs taken out, because they are damaged", summary.packsDamaged);
  list("Packs of which the index said what is not so", summary.packsCorrected);
  list(
    "Packs in no index whose footer cannot be read: prune removes them",
    summary.packsUnreadable,
  );
  list("Index objects removed", summary.objectsRemoved);
  for (const writer of summary.writersBlamed)
    output.warn(
      `Key ${writer} has signed what is not so: if its host is not yours any more, see docs/security.md`,
    );
  if (summary.packsDamaged.length > 0)
    output.line(
      `Of damaged packs ${plural(summary.blobsSaved, "blob")} were copied, ${plural(summary.blobsLost, "blob")} are lost: the next backup stores again what it still finds`,
    );
  const found = [
    summary.packsAdded,
    summary.packsMissing,
    summary.packsDamaged,
    summary.packsCorrected,
    summary.packsUnreadable,
    summary.objectsRemoved,
  ];
  output.line(
    found.every((names) => names.length === 0)
      ? "The index is right: there is nothing to repair"
      : "Next: back up what is still there, then ashlar check, then ashlar repair snapshots",
  );
}

function printSnapshot(output: Output, repaired: RepairedSnapshot): void {
  const { id, repairedId, cut, cutCount, isLost } = repaired;
  if (isLost) output.line(`Snapshot ${id.slice(0, 8)}: nothing is left of it`);
  else if (repairedId === undefined) output.line(`Snapshot ${id.slice(0, 8)} would lose:`);
  else output.line(`Snapshot ${id.slice(0, 8)} is now ${repairedId.slice(0, 8)}, without:`);
  for (const path of cut) output.line(`  ${printableName(path)}`);
  if (cutCount > cut.length) output.line(`  … and ${cutCount - cut.length} more`);
}

/** docs/json.md: repair index. */
function indexDocument(summary: RepairIndexSummary): object {
  return {
    packs_added: summary.packsAdded,
    packs_missing: summary.packsMissing,
    packs_damaged: summary.packsDamaged,
    packs_corrected: summary.packsCorrected,
    packs_unreadable: summary.packsUnreadable,
    writers_blamed: summary.writersBlamed,
    blobs_saved: summary.blobsSaved,
    blobs_lost: summary.blobsLost,
    index_removed: summary.objectsRemoved,
    index_written: summary.objectsWritten,
  };
}

/** docs/json.md: repair snapshots. */
function snapshotDocument({
  id,
  time,
  hostname,
  repairedId,
  cut,
  cutCount,
  isLost,
}: RepairedSnapshot): object {
  return {
    id,
    short_id: id.slice(0, 8),
    time,
    hostname,
    new_id: repairedId,
    cut,
    num_cut: cutCount,
    lost: isLost,
  };
}
