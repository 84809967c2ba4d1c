/** What a snapshot holds, entry by entry. */
import type { PartitionTable } from "../../image/index.ts";
import type { DirectoryEntry } from "../format/index.ts";
import { partitionsOf } from "./disk-partitions.ts";
import { ImageReader } from "./image-reader.ts";
import type { Repository } from "./repository.ts";
import { snapshotEntry } from "./snapshot-entry.ts";
import type { StoredSnapshot } from "./snapshots.ts";
import { filePieces, type TreeEntry, walkTree } from "./tree-reader.ts";

/** How a file's bytes were cut: as a disk, in blocks, or as a stream. */
export type ContentKind = "image" | "stream";

export interface ListedEntry extends TreeEntry {
  readonly contentKind: ContentKind | undefined;
  /** Bytes of an image that are no hole; only where that was asked for. */
  readonly allocatedBytes: number | undefined;
  /** Of an image that has them; only where that was asked for. */
  readonly partitions: PartitionTable | undefined;
}

export interface ListOptions {
  /** In the snapshot; all of it unless given. */
  readonly path?: string | undefined;
  /** Read images' maps and partition tables: how much of them is data, and where it belongs. */
  readonly withDisks?: boolean | undefined;
}

/** The entry at `path` where it is no directory, else all below it, parents before children. */
export async function* listEntries(
  repository: Repository,
  snapshot: StoredSnapshot,
  { path = "/", withDisks = false }: ListOptions = {},
): AsyncGenerator<ListedEntry> {
  const reader = await repository.reader();
  const { settings } = repository;
  const entry = await snapshotEntry(reader, snapshot, path);
  const base = path.replace(/\/+$/, "");
  const entries =
    entry.content?.kind === "directory"
      ? walkTree(reader, entry.content.node, { path: base })
      : [{ path: base, entry }];
  for await (const found of entries) {
    const contentKind = contentKindOf(found.entry);
    let allocatedBytes: number | undefined;
    let partitions: PartitionTable | undefined;
    if (withDisks && contentKind === "image") {
      allocatedBytes = 0;
      for await (const pieces of filePieces(reader, found.entry, settings)) {
        for (const { id, length } of pieces) if (id !== undefined) allocatedBytes += length;
      }
      const image = ImageReader.of(reader, settings, found.path, found.entry);
      if (image !== undefined) partitions = await partitionsOf(image);
    }
    yield { ...found, contentKind, allocatedBytes, partitions };
  }
}

export function contentKindOf({ content }: DirectoryEntry): ContentKind | undefined {
  if (content === undefined || content.kind === "directory") return undefined;
  return content.kind === "image" ? "image" : "stream";
}
