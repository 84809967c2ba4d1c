import { resolve } from "node:path";
import type { Command } from "../command.ts";
import { filterOptions } from "../options.ts";
import { snapshotFilter } from "./snapshots.ts";

export const command: Command = {
  usage: "mount <snapshot> [directory]",
  summary: "Show snapshots as files, read-only, until Ctrl-C: mount SNAP DIR, or mount DIR for all",
  positionals: {
    snapshot: {
      type: "string",
      demandOption: true,
      describe: "id, prefix or `latest`; left out: all snapshots, in folders",
    },
    directory: { type: "string", describe: "an empty folder" },
  },
  options: {
    ...filterOptions,
    "allow-other": {
      type: "boolean",
      describe: "let other users look, too, as far as the modes of files let them",
    },
  },
  examples: [
    ["mount /mnt/backups", "all snapshots, below snapshots/, hosts/HOST/ and latest"],
    ["mount latest /mnt/backups --host web1", "web1's newest"],
    [
      "mount latest m; mount -o loop,ro,noload m/srv/images/web1.raw /mnt/web1",
      "in another terminal, as root: the files in a disk image",
    ],
    ["fusermount -u /mnt/backups", "ends it from elsewhere (no ashlar before it)"],
  ],
  async run(context, args) {
    const { host, output, signal } = context;
    const first = args.word("snapshot");
    const second = args.text("directory");
    const directory = resolve(host.cwd, second ?? first);
    const repository = await context.openRepository();
    const { resolveSnapshot, Session } = await import("../../repo/index.ts");
    const { mountSnapshots, SnapshotShelf } = await import("../../serve/fuse/index.ts");
    const filter = snapshotFilter(args);
    const snapshot =
      second === undefined ? undefined : await resolveSnapshot(repository, first, filter);
    const session = await Session.startReader(
      repository,
      snapshot === undefined ? [] : [snapshot.id],
    );
    try {
      const shelf =
        snapshot === undefined ? await SnapshotShelf.open(repository, filter) : undefined;
      await mountSnapshots(repository, {
        directory,
        root: snapshot === undefined ? () => shelf!.folders() : () => Promise.resolve({ snapshot }),
        allowOther: args.flag("allow-other"),
        searchPath: host.env["PATH"] ?? "",
        signal,
        onMounted(folder) {
          const snapshots = shelf?.count ?? 1;
          if (output.json)
            output.document({ message_type: "mounted", directory: folder, snapshots });
          const what =
            snapshot === undefined ? "All snapshots are" : `Snapshot ${snapshot.id.slice(0, 8)} is`;
          output.line(`${what} mounted on ${folder}; Ctrl-C or fusermount -u ends it`);
        },
      });
    } finally {
      await session?.abort();
    }
    return 0;
  },
};
