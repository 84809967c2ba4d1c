/** Which restored files are links to one: by the (device, inode) they had when they were backed up. */
import type { FileMetadata } from "../file-metadata.ts";
import type { OpenDirectory } from "./open-directory.ts";

export interface LinkSource {
  readonly directory: OpenDirectory;
  readonly name: string;
}

/** Remembers a file only until all its links were seen, as far as they are restored at all. */
export class HardLinks {
  readonly #sources = new Map<string, { readonly source: LinkSource; left: number }>();

  /** Where the content already is. */
  find(metadata: FileMetadata): LinkSource | undefined {
    if (!mayBeLinked(metadata)) return undefined;
    const key = keyOf(metadata);
    const known = this.#sources.get(key);
    if (known === undefined) return undefined;
    if (--known.left === 0) this.#sources.delete(key);
    return known.source;
  }

  add(metadata: FileMetadata, source: LinkSource): void {
    if (mayBeLinked(metadata))
      this.#sources.set(keyOf(metadata), { source, left: metadata.links - 1 });
  }

  /** For a source that came to nothing. */
  drop(metadata: FileMetadata): void {
    this.#sources.delete(keyOf(metadata));
  }
}

function mayBeLinked({ links, type }: FileMetadata): boolean {
  return links > 1 && type !== "dir";
}

function keyOf({ deviceId, inode }: FileMetadata): string {
  return `${deviceId}:${inode}`;
}
