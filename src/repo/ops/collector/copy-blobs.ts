/**
 * Copies kept blobs out of packs that are to go, into new packs with their index: the compressed form,
 * opened, its id checked, sealed anew (R10).
 */
import { toHex } from "../../../bytes.ts";
import { CorruptionError, RepositoryBusyError } from "../../../errors.ts";
import type { BlobIndex, IndexWriter } from "../../blob-index/index.ts";
import type { BlobReader } from "../../blobs/index.ts";
import { PackChecker } from "../check/pack-check.ts";
import { Salvage } from "../repair/salvage.ts";
import type { Repository } from "../repository.ts";

export interface CopyContext {
  readonly repository: Repository;
  readonly index: BlobIndex;
  readonly indexWriter: IndexWriter;
  readonly reader: BlobReader;
  readonly signal: AbortSignal | undefined;
}

/**
 * @param isWanted  asked for each blob of each of the packs
 * @returns names of the packs that hold the copies
 * @throws {CorruptionError} when a blob that is wanted is damaged: its pack must stay, as evidence
 * @throws {RepositoryBusyError} when a pack is gone that was listed when this run began
 */
export async function copyBlobs(
  { repository, index, indexWriter, reader, signal }: CopyContext,
  packs: ReadonlySet<string>,
  isWanted: (place: { readonly pack: number; readonly ordinal: number }) => boolean,
): Promise<readonly string[]> {
  if (packs.size === 0) return [];
  const checker = new PackChecker(repository, (cls, id) => reader.readBlob(cls, id));
  const copies = new Salvage(repository, indexWriter);
  const done = new Set<string>();
  for await (const { object } of index.objects()) {
    for (const pack of object.packs) {
      const name = toHex(pack.name);
      if (!packs.has(name) || done.has(name)) continue;
      signal?.throwIfAborted();
      done.add(name);
      const [number, ...others] = index.packNumbers(name);
      if (number === undefined || others.length > 0)
        throw damaged(name, "index objects contradict each other about it");
      const wanted = (ordinal: number): boolean => isWanted({ pack: number, ordinal });
      const bytes = await repository.storage.get("data", name, undefined, { signal });
      if (bytes === undefined) throw takenByAnother(name);
      const opened = checker.open(bytes);
      try {
        const [fault] = await checker.damagedEntries(opened, bytes, pack, wanted);
        if (fault !== undefined) throw damaged(name, fault.message);
        await copies.take(opened, bytes, pack, wanted);
      } finally {
        opened.opener.wipe();
      }
    }
  }
  await copies.finish();
  await indexWriter.write();
  return copies.packs;
}

function damaged(pack: string, why: string): CorruptionError {
  return new CorruptionError(`Cannot copy what is needed of pack ${pack}: ${why}`, {
    hint: "Run `ashlar check --read-data`, then `ashlar repair index`: the pack stays until then",
  });
}

/** It has copied what is needed of it, or found it unused: either way this run's plan is out of date. */
export function takenByAnother(pack: string, cause?: unknown): RepositoryBusyError {
  return new RepositoryBusyError(
    `Cannot prune: another prune has deleted pack ${pack} since this one began`,
    { hint: "Run again: what is left to do is found anew", cause },
  );
}
