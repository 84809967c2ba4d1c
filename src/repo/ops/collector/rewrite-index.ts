/**
 * Takes packs out of the index: objects that name one are replaced by objects that do not, and what a
 * merge has replaced is removed. Only a collector deletes here, and only what was read back elsewhere (R2).
 */
import { equalBytes, toHex } from "../../../bytes.ts";
import { CorruptionError, RepositoryBusyError } from "../../../errors.ts";
import {
  type BlobIndex,
  mergeIndexObjects,
  planMerges,
  sealIndexObject,
} from "../../blob-index/index.ts";
import { encodeIndexObject, type IndexedPack, type IndexObject } from "../../format/index.ts";
import type { Repository } from "../repository.ts";
import { sha256 } from "../sealed-records.ts";

export interface IndexRewrite {
  readonly written: number;
  readonly removed: number;
}

/** @param gone  names of packs that no index object shall name any more */
export async function rewriteIndex(
  repository: Repository,
  index: BlobIndex,
  gone: ReadonlySet<string>,
  signal: AbortSignal | undefined,
): Promise<IndexRewrite> {
  let written = 0;
  let removed = 0;
  const put = async (object: IndexObject): Promise<void> => {
    await putReadBack(repository, object, signal);
    written++;
  };
  const remove = async (name: string): Promise<void> => {
    if (await repository.storage.delete("index", name, { signal })) removed++;
  };
  for await (const { name, object } of index.objects()) {
    signal?.throwIfAborted();
    const stays = object.packs.filter((pack) => !gone.has(toHex(pack.name)));
    if (stays.length === object.packs.length) continue;
    if (stays.length > 0) await put({ replaces: [name], session: undefined, packs: stays });
    await remove(name);
  }
  await index.refresh();
  for (const group of planMerges(index.indexObjects())) {
    signal?.throwIfAborted();
    const members = new Map<string, IndexObject>();
    for await (const { name, object } of index.objects(new Set(group))) members.set(name, object);
    // Contradicting claims about one pack are kept apart, for `check` to judge.
    const merged = mergeIndexObjects(members, isSameClaim);
    if (merged === undefined || members.size < 2) continue;
    await put(merged);
    for (const name of members.keys()) await remove(name);
  }
  await index.refresh();
  return { written, removed };
}

function isSameClaim(a: IndexedPack, b: IndexedPack): boolean {
  const bytes = (pack: IndexedPack): Uint8Array =>
    encodeIndexObject({ replaces: [], session: undefined, packs: [pack] });
  return equalBytes(bytes(a), bytes(b));
}

async function putReadBack(
  repository: Repository,
  object: IndexObject,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { storage, keys, id: repoId, writer, environment } = repository;
  const stored = sealIndexObject(object, { keys, repoId, writer, random: environment.random });
  const name = sha256(stored);
  await storage.put("index", name, [stored], { signal });
  const back = await storage.get("index", name, undefined, { signal });
  if (back === undefined) {
    throw new RepositoryBusyError(
      `Cannot prune: index object ${name} is gone again; another prune has merged it`,
      { hint: "Run again: what is left to do is found anew" },
    );
  }
  if (sha256(back) !== name) {
    throw new CorruptionError(
      `Cannot replace index objects: object ${name} does not read back as it was written`,
    );
  }
}
