import { basename } from "node:path";
import { printableName } from "../../../names.ts";
import type { GuestEntry } from "../../../guest/index.ts";
import type { Command } from "../../command.ts";
import { isoTime, listedTime, permissionsText } from "../../entry-document.ts";
import { guestOptions, withGuestFiles } from "./open-guest.ts";

export const ls: Command = {
  usage: "ls <snapshot> [folder]",
  summary: "List a folder inside a disk image",
  positionals: {
    snapshot: { type: "string", demandOption: true, describe: "SNAP:IMAGE, or SNAP if it has one" },
    // Not "path": that is the option that chooses snapshots.
    folder: { type: "string", default: "/", describe: "or file, in the guest" },
  },
  options: {
    long: { alias: "l", type: "boolean", describe: "mode, owner, size, time" },
    recursive: { alias: "R", type: "boolean", describe: "all that is below it, too" },
    ...guestOptions,
  },
  examples: [
    ["guest ls latest:/srv/images/web1.raw /etc", "a folder of the guest"],
    ["guest ls -lR latest /home --host web1", "with sizes, all below it"],
  ],
  async run(context, args) {
    const { output, signal } = context;
    await withGuestFiles(context, args, async (root) => {
      const { findEntry, listFolder, walk } = await import("../../../guest/index.ts");
      const entry = await findEntry(root, args.word("folder"), {
        followLast: !args.flag("long"),
      });
      const show = (each: GuestEntry): void => {
        signal.throwIfAborted();
        if (output.json) output.document(entryDocument(each));
        else output.answer(args.flag("long") ? longLine(each) : printableName(each.path));
      };
      if (entry.type !== "dir") show(entry);
      else if (args.flag("recursive")) for await (const each of walk(entry)) show(each);
      else for (const each of await listFolder(entry)) show(each);
    });
    return 0;
  },
};

function entryDocument({ path, type, stat, linkTarget }: GuestEntry): object {
  return {
    message_type: "guest_entry",
    name: basename(path),
    type,
    path,
    uid: Number(stat.uid),
    gid: Number(stat.gid),
    size: type === "file" ? Number(stat.size) : undefined,
    mode: Number(stat.mode) & 0o7777,
    permissions: permissionsText(type, Number(stat.mode)),
    mtime: isoTime(stat.mtimeNs),
    linktarget: linkTarget,
  };
}

function longLine({ path, type, stat, linkTarget }: GuestEntry): string {
  const link = linkTarget === undefined ? "" : ` -> ${printableName(linkTarget)}`;
  return [
    permissionsText(type, Number(stat.mode)),
    `${stat.uid}:${stat.gid}`.padEnd(12),
    String(stat.size).padStart(12),
    listedTime(stat.mtimeNs),
    `${printableName(path)}${link}`,
  ].join(" ");
}
