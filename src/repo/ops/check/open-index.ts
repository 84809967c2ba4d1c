/**
 * The index as a checker wants it: packs must be listed in data/, and those that a mark names still
 * count while they are there, since until the sweep they can be read.
 */
import { BlobIndex } from "../../blob-index/index.ts";
import type { Repository } from "../repository.ts";

export async function openFullIndex(
  repository: Repository,
  signal: AbortSignal | undefined,
): Promise<BlobIndex> {
  // Looked at after the snapshots: a host that was added meanwhile may have written index objects, too.
  repository.forgetRegistry();
  const registry = await repository.writerRegistry();
  return BlobIndex.open({
    storage: repository.storage,
    keys: repository.keys,
    repoId: repository.id,
    cacheDir: repository.environment.cacheDir,
    verify: (kind, content) => registry.verify(kind, content),
    signal,
    onNote: (text) => {
      repository.environment.note(text);
    },
  });
}

export async function listPacks(
  { storage }: Repository,
  signal: AbortSignal | undefined,
): Promise<Map<string, number>> {
  const packs = new Map<string, number>();
  for await (const { name, size } of storage.list("data", { signal })) packs.set(name, size);
  return packs;
}

/** A listing already made, in the shape that the index takes. */
export async function* listedPacks(
  packs: ReadonlyMap<string, number>,
): AsyncGenerator<{ readonly name: string; readonly size: number }> {
  await Promise.resolve();
  for (const [name, size] of packs) yield { name, size };
}
