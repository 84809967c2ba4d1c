/** A snapshot's directories from one repository into another, beside those of an earlier copy where there is one. */
import { mapConcurrent } from "../../../async.ts";
import { equalBytes } from "../../../bytes.ts";
import type { DirectoryEntry, EntryContent } from "../../format/index.ts";
import { directoryEntries, type NodeSource } from "../tree-reader.ts";
import { type StoreTree, storeDirectory } from "../tree-writer.ts";
import type { ContentCopier, Twin } from "./content-copier.ts";

export interface TreeCopierOptions {
  readonly source: NodeSource;
  readonly target: NodeSource;
  readonly storeTree: StoreTree;
  readonly content: ContentCopier;
  /** Whether nothing at all of the earlier copy can have gone from the target since. */
  readonly isTwinWhole: () => Promise<boolean>;
  /** Whether all that this entry of the earlier copy is made of is in the target still. */
  readonly isStored: (entry: DirectoryEntry) => Promise<boolean>;
  readonly signal: AbortSignal | undefined;
}

/** What their chunks take is the chunk copier's bound. */
const filesAtOnce = 64;

export class TreeCopier {
  readonly #options: TreeCopierOptions;

  constructor(options: TreeCopierOptions) {
    this.#options = options;
  }

  /** @returns the directory's node in the target */
  async copy(node: Uint8Array, twin?: Twin<Uint8Array>): Promise<Uint8Array> {
    const { source, target, storeTree, signal, isTwinWhole } = this.#options;
    signal?.throwIfAborted();
    if (twin !== undefined && equalBytes(node, twin.source) && (await isTwinWhole()))
      return twin.target;
    const before = await entriesByName(source, twin?.source);
    const after = await entriesByName(target, twin?.target);
    const twinEntry = (name: string): Twin<EntryContent> | undefined => {
      const [one, other] = [before.get(name), after.get(name)];
      if (one?.content === undefined || other?.content === undefined) return undefined;
      if (one.metadata.size !== other.metadata.size) return undefined;
      return { source: one.content, target: other.content };
    };
    const copies: DirectoryEntry[] = [];
    const files: DirectoryEntry[] = [];
    for await (const entry of directoryEntries(source, node)) {
      if (entry.content?.kind !== "directory") {
        files.push(entry);
        continue;
      }
      const pair = twinEntry(entry.name);
      const nodes =
        pair?.source.kind === "directory" && pair.target.kind === "directory"
          ? { source: pair.source.node, target: pair.target.node }
          : undefined;
      const copied = await this.copy(entry.content.node, nodes);
      copies.push({ ...entry, content: { kind: "directory", node: copied } });
    }
    const copyFile = async (entry: DirectoryEntry): Promise<DirectoryEntry> => {
      if (entry.content === undefined) return entry;
      const twinFile = after.get(entry.name);
      const isThere = twinFile !== undefined && (await this.#options.isStored(twinFile));
      const pair = isThere ? twinEntry(entry.name) : undefined;
      return { ...entry, content: await this.#options.content.copy(entry.content, pair) };
    };
    for await (const copy of mapConcurrent(files, filesAtOnce, copyFile)) copies.push(copy);
    return (await storeDirectory(storeTree, copies, twin?.target)).node;
  }
}

async function entriesByName(
  source: NodeSource,
  node: Uint8Array | undefined,
): Promise<ReadonlyMap<string, DirectoryEntry>> {
  const entries = new Map<string, DirectoryEntry>();
  if (node === undefined) return entries;
  for await (const entry of directoryEntries(source, node)) entries.set(entry.name, entry);
  return entries;
}
