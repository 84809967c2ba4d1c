/** What a snapshot holds, entry by entry. */
import type { DirectoryEntry } from "../format/index.ts";
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
}

export interface ListOptions {
  /** In the snapshot; all of it unless given. */
  readonly path?: string | undefined;
  /** Read images' maps to tell how much of them is data. */
  readonly withAllocated?: boolean | undefined;
}

/** The entry at `path` where it is no directory, else all below it, parents before children. */
export async function* listEntries(
  repository: Repository,
  snapshot: StoredSnapshot,
  { path = "/", withAllocated = false }: ListOptions = {},
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
    if (withAllocated && contentKind === "image") {
      allocatedBytes = 0;
      for await (const pieces of filePieces(reader, found.entry, settings)) {
        for (const { id, length } of pieces) if (id !== undefined) allocatedBytes += length;
      }
    }
    yield { ...found, contentKind, allocatedBytes };
  }
}

export function contentKindOf({ content }: DirectoryEntry): ContentKind | undefined {
  if (content === undefined || content.kind === "directory") return undefined;
  return content.kind === "image" ? "image" : "stream";
}
