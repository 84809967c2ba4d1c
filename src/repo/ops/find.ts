/** Looking for files by name in many snapshots. */
import { fromHex } from "../../bytes.ts";
import { compilePatterns } from "../../files/index.ts";
import type { DirectoryEntry } from "../format/index.ts";
import type { Repository } from "./repository.ts";
import type { StoredSnapshot } from "./snapshots.ts";
import { directoryEntries, type NodeSource, type TreeEntry } from "./tree-reader.ts";

export interface FindOptions {
  /** As for `--exclude`: names, or paths with slashes. */
  readonly patterns: readonly string[];
  readonly ignoreCase?: boolean | undefined;
  /** Bounds of the time of modification, in nanoseconds since the epoch. */
  readonly oldestNs?: bigint | undefined;
  readonly newestNs?: bigint | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What of `snapshot` the patterns name; of a directory that matches, what is below it only if it matches itself. */
export async function* findEntries(
  repository: Repository,
  snapshot: StoredSnapshot,
  options: FindOptions,
): AsyncGenerator<TreeEntry> {
  const { patterns, ignoreCase = false, oldestNs, newestNs, signal } = options;
  const matcher = compilePatterns(patterns, { ignoreCase });
  const isWanted = ({ metadata }: DirectoryEntry): boolean =>
    (oldestNs === undefined || metadata.mtimeNs >= oldestNs) &&
    (newestNs === undefined || metadata.mtimeNs <= newestNs);

  async function* below(
    source: NodeSource,
    node: Uint8Array,
    path: string,
    isInMatch: boolean,
  ): AsyncGenerator<TreeEntry> {
    for await (const entry of directoryEntries(source, node)) {
      signal?.throwIfAborted();
      const found = { path: `${path}/${entry.name}`, entry };
      const isBelowMatch = matcher.matches(found.path);
      // All below a match matches too: there the name has to match on its own.
      const isMatch = isInMatch ? matcher.matches(entry.name) : isBelowMatch;
      if (isMatch && isWanted(entry)) yield found;
      if (entry.content?.kind === "directory" && matcher.mayMatchBelow(found.path))
        yield* below(source, entry.content.node, found.path, isBelowMatch);
    }
  }
  yield* below(await repository.reader(), fromHex(snapshot.tree), "", false);
}
