import { parseCalendarDuration } from "../../durations.ts";
import { UsageError } from "../../errors.ts";
import { printableName } from "../../names.ts";
import type {
  ForgetGroup,
  ForgetPolicy,
  ForgetResult,
  GroupKey,
  StoredSnapshot,
} from "../../repo/index.ts";
import type { Command, CommandArguments } from "../command.ts";
import { filterOptions } from "../options.ts";
import type { Output } from "../output.ts";
import { snapshotDocument } from "../snapshot-document.ts";
import { formatTable, formatTime, plural } from "../text.ts";
import { pruneDocument, pruneOptions, readPruneOptions, runPrune } from "./prune.ts";
import { snapshotFilter } from "./snapshots.ts";

const keep = (what: string, alias?: string) =>
  ({
    type: "number",
    requiresArg: true,
    ...(alias === undefined ? {} : { alias }),
    describe: `keep ${what}; -1 keeps all`,
  }) as const;

export const command: Command = {
  usage: "forget [snapshot..]",
  summary: "Remove snapshots by a policy, or by their ids; prune then frees their space",
  positionals: {
    snapshot: {
      type: "string",
      array: true,
      describe: "forget these and no others, whatever the policy: ids, prefixes or latest",
    },
  },
  options: {
    "keep-last": keep("the N newest", "l"),
    "keep-hourly": keep("the newest of each of the last N hours that have one", "H"),
    "keep-daily": keep("the newest of each of the last N days that have one", "d"),
    "keep-weekly": keep("the newest of each of the last N weeks that have one", "w"),
    "keep-monthly": keep("the newest of each of the last N months that have one", "m"),
    "keep-yearly": keep("the newest of each of the last N years that have one", "y"),
    "keep-within": {
      type: "string",
      requiresArg: true,
      describe: "keep what is newer than so much (1y5m7d2h) before the group's newest",
    },
    "keep-tag": {
      type: "string",
      array: true,
      nargs: 1,
      requiresArg: true,
      describe: "keep what has these tags, `a,b` for both (repeatable)",
    },
    "group-by": {
      alias: "g",
      type: "string",
      default: "host,paths",
      describe: 'the policy counts within each of host, paths, tags; "" for all together',
    },
    ...filterOptions,
    "allow-empty": { type: "boolean", describe: "the policy may empty a group" },
    prune: { type: "boolean", describe: "prune, if anything was forgotten" },
    ...pruneOptions,
    "dry-run": { alias: "n", type: "boolean", describe: "only say what would be done" },
  },
  examples: [
    ["forget --keep-daily 7 --keep-weekly 5 --keep-monthly 12 --prune", "every night"],
    ["forget --keep-last 1 --dry-run", "what would go, and why the rest stays"],
    ["forget 4bf2a1c0", "one snapshot"],
  ],
  exitCodes: { 11: "with --prune: another prune or repair is at work" },
  async run({ output, openRepository, signal }, args) {
    const policy = readPolicy(args);
    const groupBy = readGroupKeys(args.text("group-by") ?? "host,paths");
    const pruning = await readPruneOptions(args);
    const repository = await openRepository();
    const { forget } = await import("../../repo/index.ts");
    const result = await forget(repository, {
      ids: args.texts("snapshot"),
      policy,
      groupBy,
      filter: snapshotFilter(args),
      allowEmpty: args.flag("allow-empty"),
      dryRun: args.flag("dry-run"),
    });
    if (output.json) output.document(forgetDocument(result));
    else print(output, result, args.flag("dry-run"));
    if (!args.flag("prune") || result.removed.length === 0) return 0;
    // A dry run has forgotten nothing that prune could find.
    if (pruning.dryRun === true) {
      output.line("What prune would free is known when these are forgotten.");
      return 0;
    }
    output.summary(pruneDocument(await runPrune(repository, pruning, output, signal), pruning));
    return 0;
  },
};

function readPolicy(args: CommandArguments): ForgetPolicy {
  const within = args.text("keep-within");
  return {
    last: readCount(args, "keep-last"),
    hourly: readCount(args, "keep-hourly"),
    daily: readCount(args, "keep-daily"),
    weekly: readCount(args, "keep-weekly"),
    monthly: readCount(args, "keep-monthly"),
    yearly: readCount(args, "keep-yearly"),
    within: within === undefined ? undefined : parseCalendarDuration(within),
    tags: args.texts("keep-tag").map((list) => list.split(",").filter((tag) => tag !== "")),
  };
}

function readCount(args: CommandArguments, name: string): number | undefined {
  const count = args.count(name);
  if (count === undefined) return undefined;
  if (count === -1) return Infinity;
  if (Number.isSafeInteger(count) && count >= 0) return count;
  throw new UsageError(`Cannot read --${name}: it takes a whole number, or -1 for all`);
}

const groupKeys: Readonly<Record<string, GroupKey>> = {
  host: "host",
  path: "paths",
  paths: "paths",
  tag: "tags",
  tags: "tags",
};

function readGroupKeys(text: string): GroupKey[] {
  return text
    .split(",")
    .filter((word) => word !== "")
    .map((word) => {
      const key = groupKeys[word];
      if (key !== undefined) return key;
      throw new UsageError(`Cannot group by "${word}"`, { hint: "Use host, paths, tags" });
    });
}

function print(output: Output, { groups, removed }: ForgetResult, isDry: boolean): void {
  for (const group of groups) printGroup(output, group, isDry);
  if (groups.length === 0) {
    for (const { id } of removed)
      output.line(`${isDry ? "would forget" : "forgot"} snapshot ${id.slice(0, 8)}`);
  }
  output.line(
    `${plural(removed.length, "snapshot")} ${isDry ? "would be forgotten" : "forgotten"}`,
  );
}

function printGroup(output: Output, group: ForgetGroup, isDry: boolean): void {
  const { hostname, paths, tags, key, decisions } = group;
  const names = [
    ...(hostname === undefined ? [] : [`host ${printableName(hostname)}`]),
    ...(paths === undefined ? [] : [`paths ${paths.map(printableName).join(" ")}`]),
    ...(tags === undefined ? [] : [`tags ${printableName(tags.join(","))}`]),
    ...(key === undefined ? [] : [`written by key ${printableName(key)}`]),
  ];
  if (names.length > 0) output.line(`${names.join(", ")}:`);
  const stays = decisions.filter((decision) => decision.keep);
  const goes = decisions.filter((decision) => !decision.keep);
  const header = ["ID", "Time", "Host", "Tags", "Reasons"];
  const row = (snapshot: StoredSnapshot, reasons: readonly string[]): string[] => [
    snapshot.id.slice(0, 8),
    formatTime(new Date(snapshot.timeMs)),
    printableName(snapshot.hostname),
    printableName(snapshot.tags.join(",")),
    reasons.join(", "),
  ];
  output.line(`keep ${plural(stays.length, "snapshot")}:`);
  const kept = stays.map(({ snapshot, reasons }) => row(snapshot, reasons));
  for (const line of formatTable(header, kept)) output.line(line);
  if (goes.length > 0) {
    output.line(`${isDry ? "would forget" : "forget"} ${plural(goes.length, "snapshot")}:`);
    const gone = goes.map(({ snapshot }) => row(snapshot, []).slice(0, 4));
    for (const line of formatTable(header.slice(0, 4), gone)) output.line(line);
  }
  output.line();
}

/** docs/json.md: forget. */
function forgetDocument({ groups, removed }: ForgetResult): object[] {
  if (groups.length === 0)
    return [{ keep: [], remove: removed.map(snapshotDocument), reasons: [] }];
  return groups.map(({ hostname, paths, tags, key, decisions }) => ({
    host: hostname,
    paths,
    tags,
    key,
    keep: decisions.filter((one) => one.keep).map(({ snapshot }) => snapshotDocument(snapshot)),
    remove: decisions.filter((one) => !one.keep).map(({ snapshot }) => snapshotDocument(snapshot)),
    reasons: decisions
      .filter((one) => one.keep)
      .map(({ snapshot, reasons }) => ({ snapshot: snapshotDocument(snapshot), matches: reasons })),
  }));
}
