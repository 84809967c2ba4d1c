import { parseElapsed } from "../../durations.ts";
import { parseBytes } from "../../sizes.ts";
import type { PruneOptions, PruneSummary, Repository } from "../../repo/index.ts";
import type { Command, CommandArguments } from "../command.ts";
import type { Output } from "../output.ts";
import { formatBytes, formatTime, plural } from "../text.ts";

/** Of `forget --prune`, too. */
export const pruneOptions = {
  grace: {
    type: "string",
    requiresArg: true,
    default: "24h",
    describe: "how long what is marked stays before it is deleted; 0 deletes at once",
  },
  "max-unused": {
    type: "string",
    requiresArg: true,
    default: "5%",
    describe: "how much may stay unused in packs that are partly used: 5%, 200M or unlimited",
  },
  "max-repack": {
    type: "string",
    requiresArg: true,
    alias: "max-repack-size",
    describe: "copy at most so much out of packs that are partly used: 2G",
  },
} as const;

export const command: Command = {
  usage: "prune",
  summary: "Delete what no snapshot needs any more: what earlier runs have marked; then mark anew",
  options: {
    ...pruneOptions,
    "dry-run": { alias: "n", type: "boolean", describe: "only say what would be done" },
  },
  examples: [
    ["prune", "every night: frees what was marked more than a day ago"],
    ["prune --grace 0", "free everything now; refused while a backup or restore is at work"],
    ["prune --max-unused unlimited", "delete whole packs only, copy nothing"],
  ],
  exitCodes: { 11: "another prune or repair is at work; with --grace 0: any session lives" },
  async run({ output, openRepository, signal }, args) {
    const options = await readPruneOptions(args);
    const repository = await openRepository();
    const summary = await runPrune(repository, options, output, signal);
    output.summary(pruneDocument(summary, options));
    return 0;
  },
};

/** Before a repository is opened, so that a mistake is told at once. */
export async function readPruneOptions(args: CommandArguments): Promise<PruneOptions> {
  const { parseUnusedLimit } = await import("../../repo/index.ts");
  const maxRepack = args.text("max-repack");
  return {
    graceMs: parseElapsed(args.text("grace") ?? pruneOptions.grace.default),
    maxUnused: parseUnusedLimit(args.text("max-unused") ?? pruneOptions["max-unused"].default),
    maxRepackBytes: maxRepack === undefined ? Infinity : parseBytes(maxRepack),
    dryRun: args.flag("dry-run"),
  };
}

export async function runPrune(
  repository: Repository,
  options: PruneOptions,
  output: Output,
  signal: AbortSignal,
): Promise<PruneSummary> {
  const { prune } = await import("../../repo/index.ts");
  const onStep = (step: string): void => {
    output.detail(step);
  };
  const summary = await prune(repository, options, { signal, onStep });
  print(output, summary, options);
  return summary;
}

function print(output: Output, summary: PruneSummary, { dryRun = false }: PruneOptions): void {
  const would = dryRun ? "would be " : "";
  const row = (title: string, count: number, bytes: number, rest = ""): void => {
    output.line(
      `${`${title}:`.padEnd(22)} ${formatBytes(bytes)} in ${plural(count, "pack")}${rest}`,
    );
  };
  row(dryRun ? "Would be freed now" : "Freed now", summary.packsFreed, summary.bytesFreed);
  const { freeFromMs } = summary;
  const from = freeFromMs === undefined ? "" : `, free from ${formatTime(new Date(freeFromMs))} on`;
  row(dryRun ? "Would be marked" : "Marked", summary.packsMarked, summary.bytesMarked, from);
  if (summary.bytesRepacked > 0)
    output.line(`${`Repacked:`.padEnd(22)} ${formatBytes(summary.bytesRepacked)} ${would}copied`);
  output.line(
    `${"Stays unused:".padEnd(22)} ${formatBytes(summary.bytesUnusedLeft)} in packs that are partly used`,
  );
  for (const { bytes, untilMs, hosts } of summary.waiting) {
    const reasons = [
      ...(untilMs === undefined ? [] : [`until ${formatTime(new Date(untilMs))}`]),
      ...(hosts.length === 0 ? [] : [`for sessions on ${hosts.join(", ")}`]),
    ];
    output.line(
      `${"Marked earlier:".padEnd(22)} ${formatBytes(bytes)} wait ${reasons.join(" and ")}`,
    );
  }
  if (summary.blockedBy.length > 0) {
    output.line(
      `Nothing could be marked: a session on ${summary.blockedBy.join(", ")} is older than any prune. Run again when it has ended.`,
    );
  }
}

/** docs/json.md: prune. */
export function pruneDocument(summary: PruneSummary, { dryRun = false }: PruneOptions): object {
  const time = (ms: number | undefined): string | undefined =>
    ms === undefined ? undefined : new Date(ms).toISOString();
  return {
    dry_run: dryRun,
    packs_freed: summary.packsFreed,
    bytes_freed: summary.bytesFreed,
    packs_marked: summary.packsMarked,
    bytes_marked: summary.bytesMarked,
    free_from: time(summary.freeFromMs),
    bytes_repacked: summary.bytesRepacked,
    bytes_unused: summary.bytesUnusedLeft,
    waiting: summary.waiting.map(({ bytes, untilMs, hosts }) => ({
      bytes,
      until: time(untilMs),
      hosts,
    })),
    blocked_by: summary.blockedBy,
    snapshots: summary.snapshotCount,
  };
}
