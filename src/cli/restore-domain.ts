/** `restore --libvirt`: a domain with its disks. */
import { resolve } from "node:path";
import { UsageError } from "../errors.ts";
import { printableName } from "../names.ts";
import type { CommandArguments, CommandContext } from "./command.ts";
import { snapshotFilter } from "./commands/snapshots.ts";
import { restoreHooks } from "./restore-hooks.ts";
import { parseSnapshotPath } from "./snapshot-path.ts";
import { formatBytes } from "./text.ts";

const others = ["to", "format", "include", "include-file", "exclude", "exclude-file"];

export async function runRestoreDomain(
  context: CommandContext,
  args: CommandArguments,
): Promise<number> {
  const { host, output } = context;
  for (const name of others)
    if (args.texts(name).length > 0)
      throw new UsageError(`Cannot restore a domain with --${name}: it comes back whole`, {
        hint: "Single disks: ashlar restore SNAP:/machines/NAME/DISK --to FILE",
      });
  if (args.flag("dry-run")) throw new UsageError("Cannot restore a domain with --dry-run");
  const folder = args.text("target");
  const repository = await context.openRepository();
  const { restoreDomain } = await import("../repo/index.ts");
  const { snapshotId, name, disks, bytesWritten } = await restoreDomain(
    repository,
    {
      ...parseSnapshotPath(args.word("snapshot")),
      filter: snapshotFilter(args),
      connect: args.text("connect"),
      name: args.text("name"),
      folder: folder === undefined ? undefined : resolve(host.cwd, folder),
      replace: args.flag("replace"),
      trustDefinition: args.flag("trust-definition"),
      verify: args.flag("verify"),
    },
    restoreHooks(context),
  );
  output.summary({
    snapshot_id: snapshotId,
    domain: name,
    disks,
    bytes_written: bytesWritten,
  });
  for (const { target, path } of disks) output.line(`${target}: ${printableName(path)}`);
  output.line(`defined ${printableName(name)}, wrote ${formatBytes(bytesWritten)}`);
  return 0;
}
