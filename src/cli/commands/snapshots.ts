import type { StoredSnapshot } from "../../repo/index.ts";
import { printableName } from "../../names.ts";
import type { Command, CommandArguments } from "../command.ts";
import { filterOptions } from "../options.ts";
import { snapshotDocument } from "../snapshot-document.ts";
import { formatBytes, formatTable, formatTime, plural } from "../text.ts";

export const command: Command = {
  usage: "snapshots [id..]",
  summary: "List snapshots",
  positionals: {
    id: { type: "string", array: true, describe: "only these: ids, prefixes or `latest`" },
  },
  options: {
    ...filterOptions,
    latest: {
      type: "number",
      requiresArg: true,
      describe: "only the newest N of each host and set of paths",
    },
  },
  examples: [
    ["snapshots --host web1", "what there is of one host"],
    ["snapshots --latest 1 --json", "the newest of each, for scripts"],
  ],
  async run({ output, openRepository }, args) {
    const repository = await openRepository(undefined, { readsSnapshots: true });
    const { groupSnapshots, loadStandings, readableSnapshots, resolveSnapshot } =
      await import("../../repo/index.ts");
    const filter = snapshotFilter(args);
    const wanted = new Set<string>();
    for (const word of args.texts("id"))
      wanted.add((await resolveSnapshot(repository, word, filter)).id);
    const all = await readableSnapshots(repository, filter);
    const named = wanted.size === 0 ? all : all.filter(({ id }) => wanted.has(id));
    const latest = args.count("latest");
    let shown = named;
    if (latest !== undefined) {
      const standings = await loadStandings(repository);
      const groups = groupSnapshots(named, ["host", "paths"], (each) => standings.of(each));
      const newest = new Set(groups.flatMap((group) => group.snapshots.slice(0, latest)));
      shown = named.filter((snapshot) => newest.has(snapshot));
    }
    if (output.json) {
      output.document(shown.map(snapshotDocument));
      return 0;
    }
    const header = ["ID", "Time", "Host", "Tags", "Size", "Stored", "Paths"];
    for (const line of formatTable(header, shown.map(row))) output.answer(line);
    output.answer(plural(shown.length, "snapshot"));
    return 0;
  },
};

export function snapshotFilter(args: CommandArguments) {
  return { hosts: args.texts("host"), tags: args.texts("tag"), paths: args.texts("path") };
}

function row(snapshot: StoredSnapshot): string[] {
  const { summary } = snapshot;
  return [
    snapshot.id.slice(0, 8),
    formatTime(new Date(snapshot.timeMs)),
    printableName(snapshot.hostname),
    printableName(snapshot.tags.join(",")),
    formatBytes(summary["bytesTotal"] ?? 0),
    formatBytes(summary["bytesStored"] ?? 0),
    snapshot.paths.map(printableName).join(" "),
  ];
}
