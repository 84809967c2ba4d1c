import { once } from "node:events";
import { statSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { FailedError, UsageError } from "../../../errors.ts";
import type { GuestEntry } from "../../../guest/index.ts";
import { nameToBytes, printableName } from "../../../names.ts";
import type { Command, CommandContext } from "../../command.ts";
import { formatBytes } from "../../text.ts";
import { guestOptions, withGuestFiles } from "./open-guest.ts";

export const cp: Command = {
  usage: "cp <snapshot> <file> <target>",
  summary: "Copy a file or a folder out of a disk image",
  positionals: {
    snapshot: { type: "string", demandOption: true, describe: "SNAP:IMAGE, or SNAP if it has one" },
    // Not "path": that is the option that chooses snapshots.
    file: {
      type: "string",
      demandOption: true,
      describe: "or folder, in the guest; folders with all below",
    },
    target: {
      type: "string",
      demandOption: true,
      describe: "a folder that exists, or a new name; `-` is standard output",
    },
  },
  options: { ...guestOptions },
  examples: [
    ["guest cp latest:/srv/images/web1.raw /etc/nginx /tmp", "a folder, as /tmp/nginx"],
    ["guest cp latest:/srv/images/db1.raw /var/lib/dump.sql - | psql", "a file into a pipe"],
  ],
  exitCodes: { 3: "something was left out, named in a warning" },
  async run(context, args) {
    const { host, output, signal } = context;
    await withGuestFiles(context, args, async (root) => {
      const { copyOut, findEntry } = await import("../../../guest/index.ts");
      const entry = await findEntry(root, args.word("file"), { followLast: true });
      const target = args.word("target");
      // yargs makes an empty word of a lone "-".
      if (target === "" && host.argv.includes("-")) return toStdout(context, entry);
      if (target === "") throw new UsageError("Cannot copy to an empty name");
      const place = targetOf(args.word("file"), resolve(host.cwd, target));
      const { files, bytes } = await copyOut(entry, nameToBytes(place), {
        isRoot: host.user.uid === 0,
        signal,
        onLeftOut: (text) => {
          output.warn(text);
        },
      });
      output.summary({ files_copied: files, bytes_copied: bytes, target: place });
      const what = files === 1 ? "1 file" : `${files} files`;
      output.line(`Copied ${what}, ${formatBytes(bytes)}, to ${printableName(place)}`);
    });
    return output.warnings === 0 ? 0 : 3;
  },
};

/** As cp(1): into a folder that exists, under the name in the guest. */
function targetOf(path: string, target: string): string {
  if (statSync(nameToBytes(target), { throwIfNoEntry: false })?.isDirectory() !== true)
    return target;
  const name = basename(path);
  if (name === "") {
    throw new UsageError(`Cannot copy the whole guest into ${printableName(target)}: it exists`, {
      hint: "Name a new folder",
    });
  }
  return join(target, name);
}

async function toStdout({ host, signal }: CommandContext, entry: GuestEntry): Promise<void> {
  if (entry.type !== "file") {
    throw new FailedError(
      `Cannot write ${printableName(entry.path)} to standard output: it is no file`,
    );
  }
  const { contentOf } = await import("../../../guest/index.ts");
  for await (const part of contentOf(entry, signal)) {
    // A copy: the next part takes the place of this one.
    if (!host.stdout.write(Buffer.from(part))) await once(host.stdout, "drain", { signal });
  }
}
