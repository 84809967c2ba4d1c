/** A directory's tree without what is lost: whole files stay as they are, hurt ones and lost folders are left out. */
import { equalBytes } from "../../../bytes.ts";
import { CorruptionError } from "../../../errors.ts";
import { type DirectoryEntry } from "../../format/index.ts";
import type { ReachableCheck } from "../check/reachable.ts";
import { directoryEntries, type NodeSource } from "../tree-reader.ts";
import { storeDirectory, type StoreTree } from "../tree-writer.ts";

export interface CutContext {
  readonly source: NodeSource;
  readonly check: ReachableCheck;
  readonly storeTree: StoreTree;
  readonly onCut: (path: string, why: string) => void;
  readonly signal?: AbortSignal | undefined;
}

/** @returns the node of what is left; undefined when the directory itself cannot be read */
export async function cutTree(
  context: CutContext,
  node: Uint8Array,
  path: string,
): Promise<Uint8Array | undefined> {
  context.signal?.throwIfAborted();
  const kept: DirectoryEntry[] = [];
  let isChanged = false;
  try {
    for await (const entry of directoryEntries(context.source, node)) {
      const whole = await keptEntry(context, entry, `${path}/${entry.name}`);
      if (whole !== undefined) kept.push(whole);
      isChanged ||= whole !== entry;
    }
  } catch (error) {
    if (!(error instanceof CorruptionError)) throw error;
    // A page of a large directory may be lost: what the others list is kept.
    context.onCut(path === "" ? "/" : path, error.message);
    if (kept.length === 0) return undefined;
    isChanged = true;
  }
  return isChanged ? (await storeDirectory(context.storeTree, kept)).node : node;
}

async function keptEntry(
  context: CutContext,
  entry: DirectoryEntry,
  path: string,
): Promise<DirectoryEntry | undefined> {
  if (entry.content?.kind !== "directory") {
    const loss = await context.check.lossOf(entry);
    if (loss === undefined) return entry;
    context.onCut(path, loss.message);
    return undefined;
  }
  const node = await cutTree(context, entry.content.node, path);
  if (node === undefined) return undefined;
  if (equalBytes(node, entry.content.node)) return entry;
  return { ...entry, content: { kind: "directory", node } };
}
