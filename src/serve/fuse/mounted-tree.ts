/**
 * What a mount shows, path by path: the folders of its own and, below them, what snapshots hold.
 *
 * It knows nothing of FUSE. What can be kept is kept by the tree browser and the blob reader, within
 * their bounds, and a few readers of files; so its memory does not grow with the files that are open.
 */
import { fromHex } from "../../bytes.ts";
import type { ExtendedAttribute } from "../../file-metadata.ts";
import type { DirectoryEntry, Settings } from "../../repo/format/index.ts";
import {
  type ContentReader,
  contentReader,
  type StoredSnapshot,
  TreeBrowser,
} from "../../repo/ops/index.ts";
import { type Attributes, entryAttributes, ownAttributes } from "./attributes.ts";
import { InodeNumbers } from "./inode-numbers.ts";
import { isShowable, nameShownAs, shownName } from "./shown-names.ts";
import type { FolderItem } from "./snapshot-folders.ts";

export type ChunkSource = Parameters<typeof contentReader>[0];

interface OpenFile {
  readonly size: number;
  readonly reader: ContentReader;
}

type Place =
  | FolderItem
  | {
      readonly snapshot: StoredSnapshot;
      /** Below the snapshot, as the mount shows it. */
      readonly path: string;
      readonly entry: DirectoryEntry;
    };

/** Each keeps the map of some 64 segments at most. */
const readersKept = 64;

export class MountedTree {
  readonly #source: ChunkSource;
  readonly #settings: Settings;
  readonly #root: () => Promise<FolderItem>;
  readonly #browser: TreeBrowser;
  readonly #inodes = new InodeNumbers();
  /** By path, in order of use. */
  readonly #files = new Map<string, OpenFile>();

  /** @param root  the snapshot that is mounted, or the folder of all as it is now */
  constructor(source: ChunkSource, settings: Settings, root: () => Promise<FolderItem>) {
    this.#source = source;
    this.#settings = settings;
    this.#root = root;
    this.#browser = new TreeBrowser(source);
  }

  /** @returns undefined when there is nothing at the path @throws {CorruptionError} as all below */
  async attributes(path: string): Promise<Attributes | undefined> {
    const place = await this.#find(path);
    if (place === undefined) return undefined;
    if ("entry" in place)
      return entryAttributes(
        place.entry,
        this.#inodes.of(place.snapshot.id, place.path, place.entry.metadata),
      );
    const ino = this.#inodes.ofPath(path);
    if ("target" in place)
      return ownAttributes("symlink", { ino, timeMs: place.timeMs, size: place.target.length });
    const { timeMs } = "snapshot" in place ? place.snapshot : place;
    return ownAttributes("dir", { ino, timeMs, size: 0 });
  }

  /** Of a directory, as they are shown. */
  async names(path: string): Promise<string[] | undefined> {
    const place = await this.#find(path);
    if (place === undefined) return undefined;
    if ("folder" in place) return [...place.folder.keys()];
    const node = directoryOf(place);
    if (node === undefined) return undefined;
    return (await this.#browser.names(node)).map(shownName).filter(isShowable);
  }

  async linkTarget(path: string): Promise<string | undefined> {
    const place = await this.#find(path);
    if (place === undefined) return undefined;
    if ("target" in place) return place.target;
    const target = "entry" in place ? place.entry.metadata.linkTarget : undefined;
    return target === undefined ? undefined : shownName(target);
  }

  async xattrs(path: string): Promise<readonly ExtendedAttribute[] | undefined> {
    const place = await this.#find(path);
    if (place === undefined) return undefined;
    return "entry" in place ? place.entry.metadata.xattrs : [];
  }

  /** @returns how many bytes of `into` were filled: fewer only at the file's end */
  async read(path: string, offset: number, into: Buffer): Promise<number | undefined> {
    const file = await this.#file(path);
    if (file === undefined) return undefined;
    const length = Math.min(into.length, Math.max(0, file.size - offset));
    if (length === 0) return 0;
    let at = 0;
    for (const part of await file.reader.read(offset, length)) {
      if (typeof part === "number") into.fill(0, at, at + part);
      else into.set(part, at);
      at += typeof part === "number" ? part : part.length;
    }
    return at;
  }

  async #file(path: string): Promise<OpenFile | undefined> {
    let file = this.#files.get(path);
    if (file === undefined) {
      const place = await this.#find(path);
      if (place === undefined || !("entry" in place) || place.entry.metadata.type !== "file")
        return undefined;
      file = this.#files.get(path) ?? {
        size: place.entry.metadata.size,
        reader: contentReader(this.#source, this.#settings, path, place.entry),
      };
    }
    this.#files.delete(path);
    this.#files.set(path, file);
    const oldest = this.#files.keys().next();
    if (this.#files.size > readersKept && oldest.done !== true) this.#files.delete(oldest.value);
    return file;
  }

  async #find(path: string): Promise<Place | undefined> {
    let place: Place | undefined = await this.#root();
    for (const shown of path.split("/").filter((part) => part !== "")) {
      if (place === undefined) return undefined;
      place = "folder" in place ? place.folder.get(shown) : await this.#child(place, shown);
    }
    return place;
  }

  async #child(place: Place, shown: string): Promise<Place | undefined> {
    const node = directoryOf(place);
    const name = nameShownAs(shown);
    if (node === undefined || name === undefined || !("snapshot" in place)) return undefined;
    const entry = await this.#browser.entryNamed(node, name);
    if (entry === undefined) return undefined;
    const above = "path" in place ? place.path : "";
    return { snapshot: place.snapshot, path: `${above}/${shown}`, entry };
  }
}

function directoryOf(place: Place): Uint8Array | undefined {
  if ("entry" in place)
    return place.entry.content?.kind === "directory" ? place.entry.content.node : undefined;
  return "snapshot" in place ? fromHex(place.snapshot.tree) : undefined;
}
