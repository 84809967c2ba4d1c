import { once } from "node:events";
import { AbortedError } from "../../errors.ts";
import type { Command } from "../command.ts";
import { filterOptions } from "../options.ts";
import { absolutePath } from "../snapshot-path.ts";
import { snapshotFilter } from "./snapshots.ts";

export const command: Command = {
  usage: "dump <snapshot> <file>",
  summary: "Write a file or an image to standard output",
  positionals: {
    snapshot: { type: "string", demandOption: true, describe: "id, prefix or `latest`" },
    // Not "path": that is the option that chooses snapshots.
    file: {
      type: "string",
      demandOption: true,
      describe: "its path in the snapshot; holes come as zeros",
    },
  },
  options: { ...filterOptions },
  examples: [
    ["dump latest /srv/images/web1.raw | ssh web1 'dd of=/dev/vda bs=1M'", "a disk over a wire"],
    ["dump 4f3a /var/backups/db.sql | psql", "what was backed up from --stdin"],
  ],
  async run(context, args) {
    const { host, signal } = context;
    const repository = await context.openRepository();
    const { dump, resolveSnapshot } = await import("../../repo/index.ts");
    const snapshot = await resolveSnapshot(repository, args.word("snapshot"), snapshotFilter(args));
    const { stdout } = host;
    // Whoever read has gone: that ends the dump, quietly, as it ends other filters.
    const gone = new AbortController();
    const onError = (): void => {
      gone.abort(new AbortedError("Cannot write to standard output: its reader has gone", 141));
    };
    stdout.on("error", onError);
    const stop = AbortSignal.any([signal, gone.signal]);
    try {
      const path = absolutePath(args.word("file"));
      for await (const bytes of dump(repository, snapshot, path, { signal: stop })) {
        if (!stdout.write(bytes)) await drained(stdout, stop);
        stop.throwIfAborted();
      }
    } finally {
      stdout.off("error", onError);
    }
    return 0;
  },
};

async function drained(stdout: NodeJS.EventEmitter, signal: AbortSignal): Promise<void> {
  try {
    await once(stdout, "drain", { signal });
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  }
}
