/**
 * Deletes marked packs: first what is needed of them is copied elsewhere (R3), then the index forgets
 * them, then they go, then their marks. Stopped anywhere, the next run goes on from what is stored.
 */
import { BackendError } from "../../../errors.ts";
import type { BlobIndex } from "../../blob-index/index.ts";
import type { Mark } from "../../format/index.ts";
import type { Named } from "../protocol.ts";
import type { Repository } from "../repository.ts";
import { copyBlobs, type CopyContext } from "./copy-blobs.ts";
import type { Endangered, LiveSet } from "./live-set.ts";
import { rewriteIndex } from "./rewrite-index.ts";

export interface SweepContext extends CopyContext {
  readonly repository: Repository;
  readonly signal: AbortSignal | undefined;
}

/**
 * @param isOvertaken  asked last before anything is deleted for good, with the packs of the copies:
 *                     whether another collector has been at what this one relies on
 * @returns names of the packs that were deleted; undefined when it was overtaken: the marks stay then
 */
export async function sweep(
  context: SweepContext,
  marks: readonly Named<Mark>[],
  live: LiveSet,
  isOvertaken: (copies: readonly string[]) => Promise<boolean>,
): Promise<Set<string> | undefined> {
  const deleted = new Set<string>();
  if (marks.length === 0) return deleted;
  const { repository, index, signal } = context;
  const { storage } = repository;
  const doomed = new Set(marks.flatMap((mark) => mark.packs));
  const endangered = live.endangered.filter(({ location }) =>
    doomed.has(packName(index, location)),
  );
  const needed = new Set(endangered.map(({ location }) => packName(index, location)));
  const deletePacks = async (isWanted: (name: string) => boolean): Promise<void> => {
    for (const name of doomed) {
      if (deleted.has(name) || !isWanted(name)) continue;
      signal?.throwIfAborted();
      if (await storage.delete("data", name, { signal })) deleted.add(name);
    }
  };
  // On a full disk packs go before the index forgets them: an entry whose pack is not listed counts
  // for nothing (R2).
  const makeRoom = (): Promise<void> => deletePacks((name) => !needed.has(name));
  const copies = await withRoom(() => rescue(context, needed, endangered), makeRoom);
  // Copying takes its time, and another prune may take a copy for garbage until the index names it.
  if (copies.length > 0 && (await isOvertaken(copies))) return undefined;
  await withRoom(
    () => rewriteIndex(repository, index, doomed, signal),
    () => deletePacks(() => true),
  );
  await deletePacks(() => true);
  await forgetMarks(context, marks);
  return deleted;
}

async function rescue(
  context: SweepContext,
  packs: ReadonlySet<string>,
  endangered: readonly Endangered[],
): Promise<readonly string[]> {
  const places = new Set(endangered.map(({ location }) => placeKey(location)));
  return copyBlobs(context, packs, (place) => places.has(placeKey(place)));
}

/** A mark stays as long as an index object names one of its packs: else such an entry would count again. */
async function forgetMarks(
  { repository, index, signal }: SweepContext,
  marks: readonly Named<Mark>[],
): Promise<void> {
  await index.refresh();
  const indexed = new Set<string>();
  for (const { name } of index.packs()) indexed.add(name);
  for (const mark of marks) {
    if (mark.packs.some((pack) => indexed.has(pack))) continue;
    await repository.storage.delete("index", mark.name, { signal });
  }
}

async function withRoom<T>(act: () => Promise<T>, makeRoom: () => Promise<void>): Promise<T> {
  try {
    return await act();
  } catch (error) {
    if (!isDiskFull(error)) throw error;
    await makeRoom();
    return await act();
  }
}

export function isDiskFull(error: unknown): boolean {
  return error instanceof BackendError && error.errno === "ENOSPC";
}

function packName(index: BlobIndex, { pack }: { readonly pack: number }): string {
  return index.packInfo(pack).name;
}

function placeKey({ pack, ordinal }: { readonly pack: number; readonly ordinal: number }): string {
  return `${pack} ${ordinal}`;
}
