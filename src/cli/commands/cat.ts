import { once } from "node:events";
import { fromHex, toHex } from "../../bytes.ts";
import { UsageError } from "../../errors.ts";
import type { Command } from "../command.ts";
import { snapshotDocument } from "../snapshot-document.ts";

const kinds = ["config", "snapshot", "tree", "blob", "index"] as const;

export const command: Command = {
  usage: "cat <kind> [id]",
  summary: "Print an object of the repository as it is",
  positionals: {
    kind: { choices: kinds, demandOption: true, describe: "what it is" },
    id: {
      type: "string",
      describe: "of a snapshot or index object a prefix will do; a snapshot's stands for its tree",
    },
  },
  examples: [
    ["cat config", "settings of the repository"],
    ["cat snapshot latest", "with the id of its tree"],
    ["cat tree latest", "its topmost directory"],
    ["cat blob 4f3a… | head -c 512", "the plain bytes of a chunk"],
  ],
  async run(context, args) {
    const { host, output } = context;
    const kind = kinds.find((known) => known === args.text("kind"));
    const id = args.text("id");
    if (kind !== "config" && id === undefined)
      throw new UsageError(`Cannot print ${kind ?? "an object"}: no id was given`, {
        hint: "See: ashlar cat --help",
      });
    const repository = await context.openRepository();
    const library = await import("../../repo/index.ts");
    const print = (value: object): void => {
      output.answer(JSON.stringify(value, plainValue, output.json ? undefined : 2));
    };
    const rootOf = async (snapshot: string): Promise<Uint8Array> =>
      fromHex((await library.resolveSnapshot(repository, snapshot)).tree);
    switch (kind) {
      case "config":
        print(await library.inspectConfig(repository));
        break;
      case "snapshot": {
        const snapshot = await library.resolveSnapshot(repository, id!);
        const { writer, sequence, previous, session } = snapshot;
        print({ ...snapshotDocument(snapshot), writer, sequence, previous, session });
        break;
      }
      case "tree":
        print(
          await library.inspectTree(repository, isBlobId(id!) ? fromHex(id!) : await rootOf(id!)),
        );
        break;
      case "index":
        print(await library.inspectIndex(repository, id!));
        break;
      case "blob": {
        const bytes = await library.inspectBlob(repository, blobId(id!));
        if (!host.stdout.write(bytes)) await once(host.stdout, "drain");
      }
    }
    return 0;
  },
};

function isBlobId(text: string): boolean {
  return /^[0-9a-f]{64}$/.test(text);
}

function blobId(text: string): Uint8Array {
  if (!isBlobId(text)) {
    throw new UsageError(`Cannot read id "${text}": it is not 64 hexadecimal digits`, {
      hint: "Ids stand in: ashlar cat snapshot, ashlar cat tree",
    });
  }
  return fromHex(text);
}

/** Ids in hexadecimal; integers that JSON's readers would round as text. */
function plainValue(_key: string, value: unknown): unknown {
  if (value instanceof Uint8Array) return toHex(value);
  return typeof value === "bigint" ? String(value) : value;
}
