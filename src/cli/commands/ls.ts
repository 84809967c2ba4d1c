import type { ListedEntry } from "../../repo/index.ts";
import { printableName } from "../../names.ts";
import type { Command } from "../command.ts";
import { entryDocument, listedTime, permissions } from "../entry-document.ts";
import { filterOptions } from "../options.ts";
import { partitionLines, tableDocument, tableText } from "../partition-text.ts";
import { snapshotDocument } from "../snapshot-document.ts";
import { absolutePath, parseSnapshotPath } from "../snapshot-path.ts";
import { formatBytes, formatTime } from "../text.ts";
import { snapshotFilter } from "./snapshots.ts";

export const command: Command = {
  usage: "ls <snapshot> [entry]",
  summary: "List what a snapshot holds",
  positionals: {
    snapshot: { type: "string", demandOption: true, describe: "id, prefix or `latest`" },
    // Not "path": that is the option that chooses snapshots.
    entry: { type: "string", describe: "only this path and what is below it" },
  },
  options: {
    long: {
      alias: "l",
      type: "boolean",
      describe: "mode, owner, size, time; of disks how much of them is data, and their partitions",
    },
    ...filterOptions,
  },
  examples: [
    ["ls latest --host web1", "every path of a host's newest backup"],
    ["ls -l latest /srv/images", "one directory, with sizes, and partitions of disks"],
  ],
  async run(context, args) {
    const { output, signal } = context;
    const named = parseSnapshotPath(args.word("snapshot"));
    const word = args.text("entry");
    const path = word === undefined ? named.path : absolutePath(word);
    const isLong = args.flag("long");
    const repository = await context.openRepository();
    const { listEntries, resolveSnapshot } = await import("../../repo/index.ts");
    const snapshot = await resolveSnapshot(repository, named.snapshot, snapshotFilter(args));
    if (output.json) output.document({ message_type: "snapshot", ...snapshotDocument(snapshot) });
    else {
      const time = formatTime(new Date(snapshot.timeMs));
      output.talk(
        `snapshot ${snapshot.id.slice(0, 8)} of ${printableName(snapshot.hostname)} at ${time}:`,
      );
    }
    for await (const entry of listEntries(repository, snapshot, { path, withDisks: isLong })) {
      signal.throwIfAborted();
      if (output.json) output.document(nodeDocument(entry));
      else {
        output.answer(isLong ? longLine(entry) : printableName(entry.path));
        const lines = entry.partitions === undefined ? [] : partitionLines(entry.partitions);
        for (const line of lines) output.answer(line);
      }
    }
    return 0;
  },
};

function nodeDocument(listed: ListedEntry): object {
  return {
    message_type: "node",
    ...entryDocument(listed),
    content: listed.contentKind,
    allocated: listed.allocatedBytes,
    partition_table: listed.partitions && tableDocument(listed.partitions),
    disk: diskDocument(listed),
  };
}

/** Of what kind the file was; `size` is what its guest saw. */
function diskDocument({ entry: { disk } }: ListedEntry): object | undefined {
  if (disk === undefined) return undefined;
  const { format, fileBytes: file_size } = disk;
  if (disk.format !== "qcow2") return { format, file_size };
  return {
    format,
    file_size,
    cluster_size: disk.clusterBytes,
    compat: disk.compat,
    compression: disk.compression,
    lazy_refcounts: disk.lazyRefcounts,
    extended_l2: disk.extendedL2,
    backing_format: disk.backingFormat,
    external_data: disk.externalData,
  };
}

function longLine(listed: ListedEntry): string {
  const { path, entry, contentKind, allocatedBytes, partitions } = listed;
  const { metadata } = entry;
  const owner = printableName(`${metadata.user || metadata.uid}:${metadata.group || metadata.gid}`);
  const link = metadata.linkTarget === undefined ? "" : ` -> ${printableName(metadata.linkTarget)}`;
  const image =
    contentKind === "image"
      ? ` (${entry.disk?.format ?? "image"}, ${formatBytes(allocatedBytes ?? 0)} of it data, ${tableText(partitions)})`
      : "";
  const { rdev } = metadata;
  // As `ls -l` does: a device has no size.
  const size = rdev === undefined ? String(metadata.size) : `${rdev.major}, ${rdev.minor}`;
  return [
    permissions(entry),
    owner.padEnd(12),
    size.padStart(12),
    listedTime(metadata.mtimeNs),
    `${printableName(path)}${link}${image}`,
  ].join(" ");
}
