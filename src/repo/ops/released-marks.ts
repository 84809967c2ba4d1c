/**
 * Marks acknowledged by a writer (R3, R5): those of whose packs nothing depends on any that it has found,
 * chunks and bases of deltas alike. It gives these packs up for good, so a sweep need not wait for it.
 */
import type { BlobIndex } from "../blob-index/index.ts";
import { loadProtocol } from "./protocol.ts";
import type { Repository } from "./repository.ts";

/** @returns names, of the marks that are there now */
export async function releasedMarks(
  repository: Repository,
  index: BlobIndex,
): Promise<readonly string[]> {
  const { marks } = await loadProtocol(repository, ["mark"]);
  return marks.filter(({ packs }) => index.release(packs)).map(({ name }) => name);
}
