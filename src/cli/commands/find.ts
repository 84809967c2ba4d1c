import type { FindOptions, StoredSnapshot, TreeEntry } from "../../repo/index.ts";
import { UsageError } from "../../errors.ts";
import { printableName } from "../../names.ts";
import type { Command, CommandArguments } from "../command.ts";
import { entryDocument, listedTime, permissions } from "../entry-document.ts";
import { filterOptions } from "../options.ts";
import { formatTime } from "../text.ts";
import { snapshotFilter } from "./snapshots.ts";

export const command: Command = {
  usage: "find <pattern..>",
  summary: "Look for files in snapshots",
  positionals: {
    pattern: {
      type: "string",
      array: true,
      demandOption: true,
      describe: "name or path, with *, ?, [..] and **",
    },
  },
  options: {
    snapshot: {
      alias: "s",
      type: "string",
      array: true,
      nargs: 1,
      requiresArg: true,
      describe: "only in this one (repeatable)",
    },
    "ignore-case": { alias: "i", type: "boolean", describe: "capital or small is the same" },
    long: { alias: "l", type: "boolean", describe: "mode, size and time of each" },
    oldest: { alias: "O", type: "string", requiresArg: true, describe: "modified then or later" },
    newest: { alias: "N", type: "string", requiresArg: true, describe: "modified then or before" },
    ...filterOptions,
  },
  examples: [
    ["find 'web1*.raw'", "in which snapshots there is such an image"],
    ["find -l --host web1 /etc/fstab", "its states over time"],
  ],
  async run(context, args) {
    const { output, signal } = context;
    const options = { ...findOptions(args), signal };
    const repository = await context.openRepository();
    const { findEntries, readableSnapshots, resolveSnapshot } = await import("../../repo/index.ts");
    const filter = snapshotFilter(args);
    const wanted = args.texts("snapshot");
    const snapshots =
      wanted.length === 0
        ? await readableSnapshots(repository, filter)
        : await Promise.all(wanted.map((id) => resolveSnapshot(repository, id, filter)));
    const documents: object[] = [];
    for (const snapshot of snapshots) {
      const matches: object[] = [];
      for await (const found of findEntries(repository, snapshot, options)) {
        if (output.json) matches.push(entryDocument(found));
        else output.answer(line(snapshot, found, args.flag("long")));
      }
      if (matches.length > 0)
        documents.push({ matches, hits: matches.length, snapshot: snapshot.id });
    }
    if (output.json) output.document(documents);
    return 0;
  },
};

function findOptions(args: CommandArguments): FindOptions {
  return {
    patterns: args.texts("pattern"),
    ignoreCase: args.flag("ignore-case"),
    oldestNs: timeBound(args.text("oldest")),
    newestNs: timeBound(args.text("newest")),
  };
}

function timeBound(text: string | undefined): bigint | undefined {
  if (text === undefined) return undefined;
  const milliseconds = Date.parse(text.replace(" ", "T"));
  if (Number.isNaN(milliseconds)) {
    throw new UsageError(`Cannot read time "${text}"`, {
      hint: 'Write it as "2026-11-23 02:30:00" or 2026-11-23T02:30:00Z',
    });
  }
  return BigInt(milliseconds) * 1_000_000n;
}

function line(snapshot: StoredSnapshot, { path, entry }: TreeEntry, isLong: boolean): string {
  const { metadata } = entry;
  const where = `${snapshot.id.slice(0, 8)} ${formatTime(new Date(snapshot.timeMs))}`;
  if (!isLong) return `${where}  ${printableName(path)}`;
  const facts = [
    permissions(entry),
    String(metadata.size).padStart(12),
    listedTime(metadata.mtimeNs),
  ];
  return `${where}  ${facts.join(" ")}  ${printableName(path)}`;
}
