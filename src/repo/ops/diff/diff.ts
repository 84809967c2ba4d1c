/** What changed between two snapshots. Equal directories and contents are passed over by their ids. */
import { isDeepStrictEqual } from "node:util";
import { equalBytes, fromHex } from "../../../bytes.ts";
import { nameToBytes } from "../../../names.ts";
import type { DirectoryEntry, EntryContent, Settings } from "../../format/index.ts";
import type { Repository } from "../repository.ts";
import type { StoredSnapshot } from "../snapshots.ts";
import type { PartitionTable } from "../../../image/index.ts";
import { partitionsOf } from "../disk-partitions.ts";
import { ImageReader } from "../image-reader.ts";
import type { ChunkSource } from "../piece-reader.ts";
import { directoryEntries } from "../tree-reader.ts";
import { compareImages, type ImageChange } from "./image-ranges.ts";

export type ChangeKind =
  | "added"
  | "removed"
  /** Content. */
  | "modified"
  /** Only owner, mode, times or attributes. */
  | "metadata"
  /** A file where a directory was, and the like. */
  | "type";

export interface Change {
  readonly path: string;
  readonly kind: ChangeKind;
  readonly before: DirectoryEntry | undefined;
  readonly after: DirectoryEntry | undefined;
  /** Of an image that was one before, too. */
  readonly image: DiskChange | undefined;
}

export interface DiskChange extends ImageChange {
  /** As it is now. */
  readonly partitions: PartitionTable | undefined;
  readonly isTableChanged: boolean;
}

export interface DiffOptions {
  /** Tell of entries of which only the metadata changed, too. */
  readonly metadata?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Changes by path, in the order of a walk. */
export async function* diffSnapshots(
  repository: Repository,
  before: StoredSnapshot,
  after: StoredSnapshot,
  options: DiffOptions = {},
): AsyncGenerator<Change> {
  const differ = new Differ(await repository.reader(), repository.settings, options);
  yield* differ.directories(fromHex(before.tree), fromHex(after.tree), "");
}

class Differ {
  readonly #source: ChunkSource;
  readonly #settings: Settings;
  readonly #options: DiffOptions;

  constructor(source: ChunkSource, settings: Settings, options: DiffOptions) {
    this.#source = source;
    this.#settings = settings;
    this.#options = options;
  }

  async *directories(
    before: Uint8Array | undefined,
    after: Uint8Array | undefined,
    path: string,
  ): AsyncGenerator<Change> {
    if (before !== undefined && after !== undefined && equalBytes(before, after)) return;
    for await (const [old, now] of this.#pairs(before, after)) {
      this.#options.signal?.throwIfAborted();
      yield* this.#entry(old, now, `${path}/${(now ?? old)!.name}`);
    }
  }

  async *#entry(
    before: DirectoryEntry | undefined,
    after: DirectoryEntry | undefined,
    path: string,
  ): AsyncGenerator<Change> {
    const change = { path, before, after, image: undefined };
    if (before === undefined) yield { ...change, kind: "added" };
    else if (after === undefined) yield { ...change, kind: "removed" };
    else if (before.metadata.type !== after.metadata.type) yield { ...change, kind: "type" };
    else if (isContentChanged(before, after))
      yield { ...change, kind: "modified", image: await this.#image(path, before, after) };
    else if (this.#options.metadata === true && isMetadataChanged(before, after))
      yield { ...change, kind: "metadata" };
    const [old, now] = [directoryOf(before), directoryOf(after)];
    if (old !== undefined || now !== undefined) yield* this.directories(old, now, path);
  }

  async #image(
    path: string,
    before: DirectoryEntry,
    after: DirectoryEntry,
  ): Promise<DiskChange | undefined> {
    if (before.content?.kind !== "image" || after.content?.kind !== "image") return undefined;
    const change = await compareImages(
      this.#source,
      { content: before.content, size: before.metadata.size },
      { content: after.content, size: after.metadata.size },
      this.#settings,
    );
    const [old, now] = await Promise.all([
      this.#partitions(path, before),
      this.#partitions(path, after),
    ]);
    return { ...change, partitions: now, isTableChanged: !isDeepStrictEqual(old, now) };
  }

  async #partitions(path: string, entry: DirectoryEntry): Promise<PartitionTable | undefined> {
    const image = ImageReader.of(this.#source, this.#settings, path, entry);
    return image && partitionsOf(image);
  }

  /** Both directories' entries side by side; they are sorted by the bytes of their names. */
  async *#pairs(
    before: Uint8Array | undefined,
    after: Uint8Array | undefined,
  ): AsyncGenerator<[DirectoryEntry | undefined, DirectoryEntry | undefined]> {
    const olds = this.#entries(before);
    const nows = this.#entries(after);
    let old = (await olds.next()).value;
    let now = (await nows.next()).value;
    while (old !== undefined || now !== undefined) {
      const order = old === undefined ? 1 : now === undefined ? -1 : byName(old, now);
      yield [order <= 0 ? old : undefined, order >= 0 ? now : undefined];
      if (order <= 0) old = (await olds.next()).value;
      if (order >= 0) now = (await nows.next()).value;
    }
  }

  async *#entries(node: Uint8Array | undefined): AsyncGenerator<DirectoryEntry, undefined> {
    if (node !== undefined) yield* directoryEntries(this.#source, node);
    return undefined;
  }
}

function byName(a: DirectoryEntry, b: DirectoryEntry): number {
  return a.name === b.name ? 0 : Buffer.compare(nameToBytes(a.name), nameToBytes(b.name));
}

function directoryOf(entry: DirectoryEntry | undefined): Uint8Array | undefined {
  return entry?.content?.kind === "directory" ? entry.content.node : undefined;
}

function isContentChanged(before: DirectoryEntry, after: DirectoryEntry): boolean {
  const { metadata: old } = before;
  const { metadata: now } = after;
  if (old.linkTarget !== now.linkTarget || old.size !== now.size) return true;
  if (old.rdev?.major !== now.rdev?.major || old.rdev?.minor !== now.rdev?.minor) return true;
  return !isSameContent(before.content, after.content);
}

/** A directory's content is told by its entries. Equal bytes of one kind have equal ids. */
function isSameContent(a: EntryContent | undefined, b: EntryContent | undefined): boolean {
  if (a === undefined || b === undefined) return a === b;
  if (a.kind === "directory" || b.kind === "directory") return a.kind === b.kind;
  if (a.kind === "list" && b.kind === "list") return equalBytes(a.root, b.root);
  if (a.kind === "image" && b.kind === "image") return isSameId(a.root, b.root);
  if (a.kind !== "chunks" || b.kind !== "chunks" || a.chunks.length !== b.chunks.length)
    return false;
  return a.chunks.every((chunk, at) => {
    const other = b.chunks[at]!;
    return chunk.length === other.length && isSameId(chunk.id, other.id);
  });
}

function isSameId(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  return a === undefined || b === undefined ? a === b : equalBytes(a, b);
}

/** All that a restore would set; the time of access and the inode change by themselves. */
function isMetadataChanged(before: DirectoryEntry, after: DirectoryEntry): boolean {
  const [old, now] = [before.metadata, after.metadata];
  return (
    old.mode !== now.mode ||
    old.uid !== now.uid ||
    old.gid !== now.gid ||
    old.mtimeNs !== now.mtimeNs ||
    old.xattrs.length !== now.xattrs.length ||
    old.xattrs.some(({ name, value }, at) => {
      const other = now.xattrs[at]!;
      return name !== other.name || !equalBytes(value, other.value);
    })
  );
}
