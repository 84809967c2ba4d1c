/** The snapshot that a run compares with, directory by directory beside the walk. */
import type { FileMetadata } from "../../../file-metadata.ts";
import { CorruptionError } from "../../../errors.ts";
import type { DirectoryEntry } from "../../format/index.ts";
import { directoryEntries, type NodeSource } from "../tree-reader.ts";

/** One directory of the parent; its entries are read when the first is asked for. */
export class ParentDirectory {
  readonly #source: NodeSource;
  readonly node: Uint8Array;
  readonly #onDamage: (error: CorruptionError) => void;
  #entries: Promise<ReadonlyMap<string, DirectoryEntry>> | undefined;

  /** @param onDamage  is told of a directory that cannot be read: it counts as empty, so its files are read again */
  constructor(source: NodeSource, node: Uint8Array, onDamage: (error: CorruptionError) => void) {
    this.#source = source;
    this.node = node;
    this.#onDamage = onDamage;
  }

  async entry(name: string): Promise<DirectoryEntry | undefined> {
    this.#entries ??= this.#read();
    return (await this.#entries).get(name);
  }

  async directory(name: string): Promise<ParentDirectory | undefined> {
    const content = (await this.entry(name))?.content;
    return content?.kind === "directory"
      ? new ParentDirectory(this.#source, content.node, this.#onDamage)
      : undefined;
  }

  async #read(): Promise<ReadonlyMap<string, DirectoryEntry>> {
    const entries = new Map<string, DirectoryEntry>();
    try {
      for await (const entry of directoryEntries(this.#source, this.node))
        entries.set(entry.name, entry);
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error;
      this.#onDamage(error);
      entries.clear();
    }
    return entries;
  }
}

/** Size, times and inode equal: then its content is taken to be equal too (`--force` reads anyway). */
export function isUnchanged(now: FileMetadata, before: FileMetadata): boolean {
  return (
    before.type === now.type &&
    before.size === now.size &&
    before.mtimeNs === now.mtimeNs &&
    before.ctimeNs === now.ctimeNs &&
    before.inode === now.inode
  );
}
