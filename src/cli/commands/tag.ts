import type { Command } from "../command.ts";
import { filterOptions } from "../options.ts";
import { plural } from "../text.ts";
import { snapshotFilter } from "./snapshots.ts";

const tagList = { type: "string", array: true, nargs: 1, requiresArg: true } as const;

export const command: Command = {
  usage: "tag [snapshot..]",
  summary: "Change the tags of snapshots",
  positionals: {
    snapshot: {
      type: "string",
      array: true,
      describe: "ids, prefixes or latest; all that the filters let through unless given",
    },
  },
  options: {
    ...filterOptions,
    add: { ...tagList, describe: "tags to add, `a,b` for both (repeatable)" },
    remove: { ...tagList, describe: "tags to take away (repeatable)" },
    set: { ...tagList, describe: 'the tags from now on; "" for none (repeatable)' },
  },
  examples: [
    ["tag latest --host web1 --add before-upgrade", "the newest of web1"],
    ["tag --tag old --remove old", "all that have the tag"],
  ],
  async run({ output, openRepository }, args) {
    const repository = await openRepository();
    const { tag } = await import("../../repo/index.ts");
    const tags = (name: string): string[] => args.texts(name).flatMap((list) => list.split(","));
    const { changed } = await tag(repository, {
      snapshots: args.texts("snapshot"),
      filter: snapshotFilter(args),
      set: args.texts("set").length === 0 ? undefined : tags("set"),
      add: tags("add"),
      remove: tags("remove"),
    });
    for (const { oldId, newId } of changed)
      output.line(`snapshot ${oldId.slice(0, 8)} is now ${newId.slice(0, 8)}`);
    output.line(`changed the tags of ${plural(changed.length, "snapshot")}`);
    // docs/json.md: tag.
    output.summary({
      changed_snapshots: changed.length,
      snapshots: changed.map(({ oldId, newId }) => ({ old_id: oldId, new_id: newId })),
    });
    return 0;
  },
};
