import type { Change, ChangedRange, ChangeKind } from "../../repo/index.ts";
import { printableName } from "../../names.ts";
import type { Command } from "../command.ts";
import { filterOptions } from "../options.ts";
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
    ranges: { type: "boolean", describe: "of images, each range that changed" },
    ...filterOptions,
  },
  examples: [
    ["diff 4f3a latest", "paths added +, removed -, modified M, of another type T"],
    ["diff 4f3a 7c21 --ranges", "and which bytes of an image"],
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
      if (output.json) output.document(changeDocument(change));
      else {
        output.answer(changeLine(change));
        if (args.flag("ranges"))
          for (const range of change.ranges ?? []) output.answer(rangeLine(range));
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
function shownPath({ path, before, after }: Change): string {
  return (after ?? before)?.metadata.type === "dir" ? `${path}/` : path;
}

function changeDocument(change: Change): object {
  return {
    message_type: "change",
    path: shownPath(change),
    modifier: marks[change.kind],
    size_before: change.before?.metadata.size,
    size_after: change.after?.metadata.size,
    changed_bytes: change.ranges && changedBytes(change.ranges),
    changed_ranges: change.ranges,
  };
}

function changeLine(change: Change): string {
  const { ranges } = change;
  const image =
    ranges === undefined
      ? ""
      : ` (image: ${formatBytes(changedBytes(ranges))} in ${plural(ranges.length, "range")})`;
  return `${marks[change.kind]}    ${printableName(shownPath(change))}${image}`;
}

function rangeLine({ offset, length }: ChangedRange): string {
  return `       ${offset}+${length}`;
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

  count({ kind, before, after, ranges }: Change): void {
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
    this.#imageBytes += changedBytes(ranges ?? []);
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
