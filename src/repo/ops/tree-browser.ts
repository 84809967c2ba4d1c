/**
 * Directories of snapshots, for who asks for one name at a time: what was lately decoded is kept, and
 * of a large directory only the page that can hold the name is read.
 */
import { toHex } from "../../bytes.ts";
import { nameToBytes } from "../../names.ts";
import {
  decodeDirectoryNode,
  decodePageNode,
  type DirectoryEntry,
  type DirectoryPage,
  nodeTypeOf,
} from "../format/index.ts";
import { directoryEntries, type NodeSource } from "./tree-reader.ts";

/** As stored; decoded it is several times as much. */
const pageBytesKept = 4 * 1024 * 1024;

interface Page {
  readonly bytes: number;
  readonly entries: ReadonlyMap<string, DirectoryEntry>;
}

export class TreeBrowser {
  readonly #source: NodeSource;
  /** By node, in order of use. */
  readonly #pages = new Map<string, Page>();
  #bytes = 0;

  constructor(source: NodeSource) {
    this.#source = source;
  }

  /** @returns undefined when the directory has no such name @throws {CorruptionError} */
  async entryNamed(directory: Uint8Array, name: string): Promise<DirectoryEntry | undefined> {
    const known = this.#kept(toHex(directory));
    if (known !== undefined) return known.get(name);
    const bytes = await this.#source.readTree(directory);
    if (nodeTypeOf(bytes) === "directory") return this.#keep(directory, bytes).get(name);
    const page = pageOf(decodePageNode(bytes).pages, name);
    if (page === undefined) return undefined;
    const entries =
      this.#kept(toHex(page.node)) ?? this.#keep(page.node, await this.#source.readTree(page.node));
    return entries.get(name);
  }

  /** In order of their bytes. @throws {CorruptionError} */
  async names(directory: Uint8Array): Promise<string[]> {
    const names: string[] = [];
    for await (const { name } of directoryEntries(this.#source, directory)) names.push(name);
    return names;
  }

  #kept(id: string): ReadonlyMap<string, DirectoryEntry> | undefined {
    const page = this.#pages.get(id);
    if (page === undefined) return undefined;
    this.#pages.delete(id);
    this.#pages.set(id, page);
    return page.entries;
  }

  #keep(node: Uint8Array, bytes: Uint8Array): ReadonlyMap<string, DirectoryEntry> {
    const entries = new Map(decodeDirectoryNode(bytes).entries.map((entry) => [entry.name, entry]));
    const id = toHex(node);
    if (!this.#pages.has(id)) {
      this.#pages.set(id, { bytes: bytes.length, entries });
      this.#bytes += bytes.length;
    }
    for (const [oldest, page] of this.#pages) {
      if (this.#bytes <= pageBytesKept || oldest === id) break;
      this.#pages.delete(oldest);
      this.#bytes -= page.bytes;
    }
    return entries;
  }
}

/** The last page that does not begin after the name. */
function pageOf(pages: readonly DirectoryPage[], name: string): DirectoryPage | undefined {
  const wanted = nameToBytes(name);
  let low = 0;
  let high = pages.length;
  while (low < high) {
    const middle = Math.floor((low + high) / 2);
    if (Buffer.compare(nameToBytes(pages[middle]!.firstName), wanted) <= 0) low = middle + 1;
    else high = middle;
  }
  return pages[low - 1];
}
