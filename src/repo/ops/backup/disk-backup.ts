/** The disks of a set into the tree of a snapshot, and small files about them beside them. */
import type { FileMetadata } from "../../../file-metadata.ts";
import { CorruptionError, FailedError } from "../../../errors.ts";
import { printableName } from "../../../names.ts";
import type { DirectoryContent, DirectoryEntry, EntryContent } from "../../format/index.ts";
import type { Piece } from "../tree-reader.ts";
import { storeDirectory } from "../tree-writer.ts";
import { auditUnchanged } from "./audit.ts";
import type { DiskSet, OpenDisk } from "./disk-set.ts";
import { storeBytes } from "./file-content.ts";
import { storeImage } from "./image-content.ts";
import type { ParentDirectory } from "./parent.ts";
import type { SourceShare } from "./shared-source.ts";
import type { TreeBackupContext } from "./tree-backup.ts";

const segmentsPerLane = 3;

export interface DiskBackupContext extends TreeBackupContext {
  readonly share: SourceShare | undefined;
  /** Nanoseconds since the epoch: when disks of machines were so. */
  readonly nowNs: bigint;
  /** Of what a bitmap calls clean, the share to be read all the same; 0 to 1. */
  readonly audit: number;
  readonly random: (bytes: number) => Uint8Array;
  /** Where the bytes of an entry of the parent lie. */
  readonly pieces: (entry: DirectoryEntry) => AsyncIterable<readonly Piece[]>;
}

/** @throws {FailedError} when one of the disks cannot be read: of a machine there is all or nothing */
export async function backUpDisks(
  context: DiskBackupContext,
  set: DiskSet,
): Promise<DirectoryContent> {
  const { tally } = context;
  const before = async (path: string): Promise<DirectoryEntry | undefined> => {
    const entry = await parentEntry(context.parent, path);
    return entry !== undefined && (await context.isStored(entry)) ? entry : undefined;
  };
  const { disks, documents, warnings } = await set.open(before);
  for (const warning of warnings) tally.warn(warning, false);
  const root = new Folder();
  // Several runs of the same disks are at the same one.
  const numbers = (): AsyncGenerator<number> => each(disks.keys());
  for await (const n of context.share?.entries(numbers) ?? numbers()) {
    const disk = disks[n]!;
    const entry = await before(disk.path);
    const content = await storeDisk(context, disk, entry);
    tally.count(entry === undefined ? "new" : "changed", disk.source.size, disk.path);
    const metadata = diskMetadata(context, disk.source.size, disk.state);
    root.put(disk.path, { name: "", metadata, content });
  }
  for (const { path, bytes } of documents) {
    const { content } = await storeBytes(
      context.writer,
      context.storeTree,
      each(bytes.length === 0 ? [] : [bytes]),
    );
    const metadata = diskMetadata(context, bytes.length, 0n);
    root.put(path, { name: "", metadata, content });
  }
  return root.store(context);
}

async function storeDisk(
  context: DiskBackupContext,
  disk: OpenDisk,
  before: DirectoryEntry | undefined,
): Promise<EntryContent> {
  const { writer, storeTree, settings, tally, signal } = context;
  const { source, changes } = disk;
  const name = printableName(source.path);
  const parent = before?.content?.kind === "image" ? context.parentImage?.(before) : undefined;
  if (changes !== undefined && before !== undefined && context.audit > 0) {
    await auditUnchanged(context, disk, before, changes);
  }
  const { readChunk } = context;
  const { content, fault } = await storeImage(writer, storeTree, source, settings, {
    segmentsInFlight: Math.max(1, context.lanes) * segmentsPerLane,
    bases: context.bases,
    parent,
    changes: parent === undefined ? undefined : changes,
    // What is damaged in the repository is still on the disk.
    readChunk: readChunk && ((id) => Promise.resolve(readChunk(id)).catch(undefinedIfDamaged)),
    share: context.share,
    onBytes: (bytes) => {
      tally.advance(bytes, source.path);
    },
    signal,
  });
  if (fault !== undefined) {
    signal?.throwIfAborted();
    throw new FailedError(`Cannot read ${name} at offset ${fault.offset}: ${fault.message}`, {
      hint: "Nothing was committed; the next run reads again what this one would have",
    });
  }
  const change = source.changedSince();
  if (change !== undefined) tally.warn(`${name} ${change}: what was stored may be a mixture`);
  return content;
}

function undefinedIfDamaged(error: unknown): undefined {
  if (!(error instanceof CorruptionError)) throw error;
}

async function parentEntry(
  parent: ParentDirectory | undefined,
  path: string,
): Promise<DirectoryEntry | undefined> {
  const names = path.split("/").filter((name) => name !== "");
  const last = names.pop();
  let directory = parent;
  for (const name of names) directory = await directory?.directory(name);
  return last === undefined ? undefined : directory?.entry(last);
}

/** A directory of the snapshot while it is put together. */
class Folder {
  readonly #children = new Map<string, Folder | DirectoryEntry>();

  put(path: string, entry: DirectoryEntry): void {
    const [name, ...rest] = path.split("/").filter((part) => part !== "");
    if (name === undefined) return;
    if (rest.length === 0) {
      this.#children.set(name, { ...entry, name });
      return;
    }
    const child = this.#children.get(name);
    const folder = child instanceof Folder ? child : new Folder();
    this.#children.set(name, folder);
    folder.put(rest.join("/"), entry);
  }

  async store(context: DiskBackupContext): Promise<DirectoryContent> {
    const entries: DirectoryEntry[] = [];
    for (const [name, child] of this.#children) {
      if (!(child instanceof Folder)) entries.push(child);
      else
        entries.push({
          name,
          metadata: metadata(context, "dir", 0o700, 0, 0n),
          content: await child.store(context),
        });
    }
    return storeDirectory(context.storeTree, entries);
  }
}

function diskMetadata(context: DiskBackupContext, size: number, state: bigint): FileMetadata {
  return metadata(context, "file", 0o600, size, state);
}

function metadata(
  { nowNs }: DiskBackupContext,
  type: "file" | "dir",
  mode: number,
  size: number,
  inode: bigint,
): FileMetadata {
  const owner = { uid: 0, gid: 0, user: "", group: "" };
  const times = { mtimeNs: nowNs, atimeNs: nowNs, ctimeNs: nowNs };
  return { type, mode, ...owner, ...times, size, inode, deviceId: 0n, links: 1, xattrs: [] };
}

async function* each<T>(items: Iterable<T>): AsyncGenerator<T> {
  for (const item of items) yield await Promise.resolve(item);
}
