/**
 * Walks a guest's files. Links are followed as the guest would follow them, inside its root and never out
 * of it; names are bytes. Nothing here waits synchronously: it is this process that serves the disk.
 */
import type { BigIntStats } from "node:fs";
import { lstat, readdir, readlink } from "node:fs/promises";
import { FailedError } from "../errors.ts";
import { nameFromBytes, nameToBytes, printableName } from "../names.ts";

export type GuestFileType = "file" | "dir" | "symlink" | "chardev" | "blockdev" | "fifo" | "socket";

export interface GuestEntry {
  /** In the guest, absolute; see names.ts. */
  readonly path: string;
  /** On this host. */
  readonly place: Buffer;
  readonly type: GuestFileType;
  readonly stat: BigIntStats;
  readonly linkTarget: string | undefined;
}

const linksMost = 40;
const depthMost = 1000;
const slash = Buffer.from("/");

/**
 * @param path  in the guest
 * @param options.followLast  where its last part is a link; one that ends in "/" is followed in any case
 * @throws {FailedError} when there is nothing
 */
export async function findEntry(
  root: string,
  path: string,
  { followLast = false }: { readonly followLast?: boolean } = {},
): Promise<GuestEntry> {
  const found: Buffer[] = [];
  const wanted = parts(nameToBytes(path));
  const follows = followLast || path.endsWith("/");
  let links = 0;
  for (let part = wanted.shift(); part !== undefined; part = wanted.shift()) {
    if (part.equals(Buffer.from(".."))) {
      found.pop();
      continue;
    }
    found.push(part);
    const { type, linkTarget } = await entryAt(root, found, path);
    const isLast = wanted.length === 0;
    if (type === "symlink" && (!isLast || follows)) {
      if (++links > linksMost) throw missing(path, "too many links lead there");
      const target = nameToBytes(linkTarget!);
      found.length = target[0] === slash[0] ? 0 : found.length - 1;
      wanted.unshift(...parts(target));
    } else if (type !== "dir" && !isLast) throw missing(path, "it leads through what is no folder");
  }
  return entryAt(root, found, path);
}

/** Entries of a folder by name. @throws {FailedError} when it cannot be read */
export async function listFolder(folder: GuestEntry): Promise<GuestEntry[]> {
  try {
    const names = await readdir(folder.place, { encoding: "buffer" });
    const entries: GuestEntry[] = [];
    for (const name of names.sort((a, b) => a.compare(b))) entries.push(await child(folder, name));
    return entries;
  } catch (cause) {
    throw new FailedError(
      `Cannot list ${printableName(folder.path)}: ${(cause as Error).message}`,
      {
        cause,
      },
    );
  }
}

/** A folder and all below it, parents first. @throws {FailedError} where folders hold themselves */
export async function* walk(
  folder: GuestEntry,
  above: readonly bigint[] = [],
): AsyncGenerator<GuestEntry> {
  const within = [...above, folder.stat.ino];
  if (above.includes(folder.stat.ino) || within.length > depthMost) {
    throw new FailedError(`Cannot walk ${printableName(folder.path)}: it holds itself`, {
      hint: "The guest's file system is damaged: name what you need of it",
    });
  }
  for (const entry of await listFolder(folder)) {
    yield entry;
    if (entry.type === "dir") yield* walk(entry, within);
  }
}

function parts(path: Buffer): Buffer[] {
  const names: Buffer[] = [];
  for (let from = 0; from <= path.length;) {
    const next = path.indexOf(slash, from);
    const end = next < 0 ? path.length : next;
    const name = path.subarray(from, end);
    if (name.length > 0 && !name.equals(Buffer.from("."))) names.push(name);
    from = end + 1;
  }
  return names;
}

async function entryAt(root: string, names: readonly Buffer[], asked: string): Promise<GuestEntry> {
  const inside = Buffer.concat(names.flatMap((name) => [slash, name]));
  const path = names.length === 0 ? "/" : nameFromBytes(inside);
  const place = Buffer.concat([Buffer.from(root), inside]);
  try {
    return await describe(path, place);
  } catch (cause) {
    const isThere = (cause as NodeJS.ErrnoException).code !== "ENOENT";
    throw missing(asked, isThere ? (cause as Error).message : "there is nothing", cause);
  }
}

function child(folder: GuestEntry, name: Buffer): Promise<GuestEntry> {
  const path = `${folder.path === "/" ? "" : folder.path}/${nameFromBytes(name)}`;
  return describe(path, Buffer.concat([folder.place, slash, name]));
}

async function describe(path: string, place: Buffer): Promise<GuestEntry> {
  const stat = await lstat(place, { bigint: true });
  const type = typeOf(stat);
  const linkTarget =
    type === "symlink" ? nameFromBytes(await readlink(place, { encoding: "buffer" })) : undefined;
  return { path, place, type, stat, linkTarget };
}

function typeOf(stat: BigIntStats): GuestFileType {
  if (stat.isFile()) return "file";
  if (stat.isDirectory()) return "dir";
  if (stat.isSymbolicLink()) return "symlink";
  if (stat.isCharacterDevice()) return "chardev";
  if (stat.isBlockDevice()) return "blockdev";
  return stat.isFIFO() ? "fifo" : "socket";
}

function missing(path: string, why: string, cause?: unknown): FailedError {
  return new FailedError(`Cannot find ${printableName(path)} in the guest: ${why}`, {
    cause,
    hint: "See what is there: ashlar guest ls",
  });
}
