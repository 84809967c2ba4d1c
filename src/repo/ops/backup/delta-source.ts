/** Where a run's deltas find the bytes of their bases. */
import { localCacheKey } from "../../../crypto/index.ts";
import type { BlobIndex } from "../../blob-index/index.ts";
import { BaseCache } from "../../blobs/index.ts";
import type { Repository } from "../repository.ts";
import type { BackupOptions, DeltaSource } from "./options.ts";

/** The repository itself, if this key can read it and it is near; else the host's own copies. */
export function deltaSource(repository: Repository, options: BackupOptions): DeltaSource {
  const { role, storage } = repository;
  const { delta = "auto", baseCache } = options;
  if (delta === "never") return "off";
  if (role === "full" && storage.traits.local) return "repository";
  if (baseCache !== undefined) return "base cache";
  return role === "full" && delta === "always" ? "repository" : "none";
}

export function openBaseCache(
  { id: repoId, keys, writer, environment }: Repository,
  { folder, bytesMost }: NonNullable<BackupOptions["baseCache"]>,
  index: BlobIndex,
  onFault: (error: Error) => void,
): BaseCache {
  return new BaseCache({
    ...{ folder, bytesMost, repoId, keys, index, onFault },
    cacheKey: localCacheKey(writer),
    random: environment.random,
    now: () => environment.clock.now(),
  });
}
