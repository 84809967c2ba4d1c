/**
 * Inode numbers, of which the binding takes 32 bits. Names of one hard-linked file share one that no
 * other file has, since `cp -a` and `tar` believe it; all else gets a hash of its path, which stays
 * the same however often it is asked for and costs no memory.
 */
import type { FileMetadata } from "../../file-metadata.ts";

const firstLinked = 0x8000_0000;

export class InodeNumbers {
  /** Of files with several names that were looked at. */
  readonly #linked = new Map<string, number>();

  /** @param snapshot  its id: a file is another one each night */
  of(snapshot: string, path: string, metadata: FileMetadata): number {
    if (metadata.type === "dir" || metadata.links < 2) return this.ofPath(`${snapshot}${path}`);
    const file = `${snapshot.slice(0, 16)} ${metadata.deviceId} ${metadata.inode}`;
    const number = this.#linked.get(file) ?? firstLinked + this.#linked.size;
    this.#linked.set(file, number);
    return number;
  }

  /** FNV-1a, 31 bits; 0 and 1 mean something else. */
  ofPath(path: string): number {
    let hash = 0x811c9dc5;
    for (let at = 0; at < path.length; at++)
      hash = Math.imul(hash ^ path.charCodeAt(at), 0x01000193);
    return Math.max(2, hash & 0x7fff_ffff);
  }
}
