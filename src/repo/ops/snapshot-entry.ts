/** One path of one snapshot, as `ls`, `dump` and `restore` name it. */
import { fromHex } from "../../bytes.ts";
import { FailedError } from "../../errors.ts";
import { printableName } from "../../names.ts";
import type { DirectoryEntry } from "../format/index.ts";
import type { StoredSnapshot } from "./snapshots.ts";
import { findEntry, type NodeSource, rootEntry } from "./tree-reader.ts";

/** @returns the root's stand-in for `/` @throws {FailedError} when the snapshot has no such path */
export async function snapshotEntry(
  source: NodeSource,
  snapshot: StoredSnapshot,
  path: string,
): Promise<DirectoryEntry> {
  const root = fromHex(snapshot.tree);
  if (path.split("/").every((name) => name === "")) return rootEntry(root);
  const entry = await findEntry(source, root, path);
  if (entry !== undefined) return entry;
  const short = snapshot.id.slice(0, 8);
  throw new FailedError(`Cannot find ${printableName(path)}: snapshot ${short} has no such path`, {
    hint: `See: ashlar ls ${short}`,
  });
}
