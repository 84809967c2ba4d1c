import type { Change, ChangedRange, ChangeKind, DiskChange } from "../../repo/index.ts";
import { type ChangedPartition, changedPartitions, partitionsIn } from "../../image/index.ts";
import { printableName } from "../../names.ts";
import type { Command } from "../command.ts";
import { filterOptions } from "../options.ts";
import { partitionDocument, partitionText, tableText } from "../partition-text.ts";
import { formatBytes, plural } from "../text.ts";
import { snapshotFilter } from "./snapshots.ts";

/** restic's marks. */
const marks: Readonly<Record<ChangeKind, string>> = {
  added: "+",
  removed: "-",
  modified: "M",
  metadata: "U",
  type: "T",
};

export const command: Command = {
  usage: "diff <snapshot> <other>",
  summary: "Show what changed between two snapshots",
  positionals: {
    snapshot: { type: "string", demandOption: true, describe: "id, prefix or `latest`" },
    other: { type: "string", demandOption: true, describe: "the later one, as a rule" },
  },
  options: {
    metadata: { type: "boolean", describe: "also where only owner, mode or times changed" },
    ranges: { type: "boolean", describe: "of disks, each range that changed, and its partition" },
    ...filterOptions,
  },
  examples: [
    ["diff 4f3a latest", "paths added +, removed -, modified M, of another type T"],
    ["diff 4f3a 7c21 --ranges", "and which bytes of a disk"],
  ],
  async run(context, args) {
    const { output, signal } = context;
    const repository = await context.openRepository();
    const { diffSnapshots, resolveSnapshot } = await import("../../repo/index.ts");
    const filter = snapshotFilter(args);
    const before = await resolveSnapshot(repository, args.word("snapshot"), filter);
    const after = await resolveSnapshot(repository, args.word("other"), filter);
    const statistics = new Statistics();
    const options = { metadata: args.flag("metadata"), signal };
    for await (const change of diffSnapshots(repository, before, after, options)) {
      statistics.count(change);
      const { ranges = [], partitions: table } = change.image ?? {};
      const touched = table && changedPartitions(table, ranges);
      if (output.json) output.document(changeDocument(change, touched));
      else {
        output.answer(changeLine(change));
        for (const line of diskLines(change.image, touched ?? [])) output.answer(line);
        for (const range of args.flag("ranges") ? ranges : [])
          output.answer(rangeLine(range, table ? partitionsIn(table, range) : []));
      }
    }
    if (output.json) {
      output.document({
        message_type: "statistics",
        source_snapshot: before.id,
        target_snapshot: after.id,
        ...statistics.document(),
      });
    } else for (const text of statistics.lines()) output.line(text);
    return 0;
  },
};

/** A directory's path ends with a slash, as in restic. */
function shownPath(path: string, entry: Change["after"]): string {
  return entry?.metadata.type === "dir" ? `${path}/` : path;
}

function changeDocument(
  { path, kind, before, after, image }: Change,
  touched: readonly ChangedPartition[] | undefined,
): object {
  return {
    message_type: "change",
    path: shownPath(path, after ?? before),
    modifier: marks[kind],
    size_before: before?.metadata.size,
    size_after: after?.metadata.size,
    changed_bytes: image && changedBytes(image.ranges),
    changed_ranges: image?.ranges,
    allocated_change: image?.allocatedGrowth,
    partition_table_changed: image?.isTableChanged,
    changed_partitions: touched?.map(({ partition, changedBytes }) => ({
      ...(partition && partitionDocument(partition)),
      changed_bytes: changedBytes,
    })),
  };
}

function changeLine({ path, kind, before, after, image }: Change): string {
  const shown = `${marks[kind]}    ${printableName(shownPath(path, after ?? before))}`;
  const facts = image === undefined ? [] : changeFacts(image);
  const sizes = [before, after].flatMap((entry) =>
    entry?.content?.kind === "image" ? [formatBytes(entry.metadata.size)] : [],
  );
  if (sizes.length > 0) facts.push(`disk of ${[...new Set(sizes)].join(", now ")}`);
  return facts.length === 0 ? shown : `${shown} (${facts.join("; ")})`;
}

function changeFacts({ ranges, allocatedGrowth }: DiskChange): string[] {
  const changed = `image: ${formatBytes(changedBytes(ranges))} in ${plural(ranges.length, "range")}`;
  return allocatedGrowth === 0 ? [changed] : [changed, `${signedBytes(allocatedGrowth)} of data`];
}

/** Where on the disk the changes lie. */
function diskLines(image: DiskChange | undefined, touched: readonly ChangedPartition[]): string[] {
  return [
    ...(image?.isTableChanged === true
      ? [`       its partition table changed: ${tableText(image.partitions)}`]
      : []),
    ...touched.map(({ partition, changedBytes }) => {
      const where =
        partition === undefined ? "outside of partitions" : `partition ${partitionText(partition)}`;
      return `       ${where}: ${formatBytes(changedBytes)}`;
    }),
  ];
}

function rangeLine({ offset, length }: ChangedRange, partitions: readonly number[]): string {
  const where = partitions.length === 0 ? "" : ` in partition ${partitions.join(", ")}`;
  return `       ${offset}+${length}${where}`;
}

function signedBytes(bytes: number): string {
  return bytes < 0 ? `-${formatBytes(-bytes)}` : `+${formatBytes(bytes)}`;
}

function changedBytes(ranges: readonly ChangedRange[]): number {
  return ranges.reduce((sum, { length }) => sum + length, 0);
}

interface Sums {
  files: number;
  dirs: number;
  others: number;
  bytes: number;
}

class Statistics {
  readonly #added: Sums = { files: 0, dirs: 0, others: 0, bytes: 0 };
  readonly #removed: Sums = { files: 0, dirs: 0, others: 0, bytes: 0 };
  #changed = 0;
  #imageBytes = 0;

  count({ kind, before, after, image }: Change): void {
    if (kind === "added" || kind === "removed") {
      const { metadata } = (after ?? before)!;
      const sums = kind === "added" ? this.#added : this.#removed;
      if (metadata.type === "file") sums.files++;
      else if (metadata.type === "dir") sums.dirs++;
      else sums.others++;
      sums.bytes += metadata.size;
      return;
    }
    if (kind === "modified" || kind === "type") this.#changed++;
    this.#imageBytes += changedBytes(image?.ranges ?? []);
  }

  document(): object {
    return {
      changed_files: this.#changed,
      changed_image_bytes: this.#imageBytes,
      added: this.#added,
      removed: this.#removed,
    };
  }

  lines(): string[] {
    const side = (what: string, { files, dirs, others, bytes }: Sums): string =>
      `${what}: ${plural(files, "file")}, ${plural(dirs, "directory", "directories")}, ` +
      `${plural(others, "other")}, ${formatBytes(bytes)}`;
    return [
      "",
      side("added", this.#added),
      side("removed", this.#removed),
      `changed: ${plural(this.#changed, "file")}, ${formatBytes(this.#imageBytes)} in images`,
    ];
  }
}
