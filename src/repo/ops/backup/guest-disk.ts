/** A file in a disk format as an entry of a snapshot: what its guest sees, and of what kind it was. */
import { closeSync, constants, openSync } from "node:fs";
import type { FileMetadata } from "../../../file-metadata.ts";
import { StoreError } from "../../../errors.ts";
import type { SourceFile } from "../../../files/index.ts";
import {
  type DiskFormat,
  diskFormat,
  isQemuNbdInstalled,
  Qcow2Source,
  qemuNbdHint,
  QemuSource,
} from "../../../image/index.ts";
import { nameToBytes, printableName } from "../../../names.ts";
import { openZstd } from "../../blobs/index.ts";
import type { DirectoryEntry, DiskDetails } from "../../format/index.ts";

export type GuestDisk = Qcow2Source | QemuSource;

export interface GuestDiskOptions {
  readonly backingDirs: readonly string[];
  /** Holds the passphrase of encrypted ones. */
  readonly keyFile: string | undefined;
  readonly signal: AbortSignal | undefined;
}

/** Takes the file's descriptor over. @throws {StoreError} when it cannot be read */
export async function openGuestDisk(
  { fd, path }: Pick<SourceFile, "fd" | "path">,
  { name }: DiskFormat,
  options: GuestDiskOptions,
): Promise<GuestDisk> {
  if (name === "qcow2") return openQcow2(fd, path, options.backingDirs, isQcow2Name(path));
  return QemuSource.open(fd, path, name, options);
}

/** Takes the descriptor over. */
export function openQcow2(
  fd: number,
  path: string,
  backingDirs: readonly string[],
  isCertain = true,
): Qcow2Source {
  let engine: ReturnType<typeof openZstd> | undefined;
  return new Qcow2Source(fd, path, {
    backingDirs,
    isCertain,
    zstd: (frame, plainBytes) => (engine ??= openZstd("off")).decompress(frame, plainBytes),
  });
}

export function diskDetails(disk: GuestDisk, fileBytes: number): DiskDetails {
  if (disk instanceof QemuSource) return { format: disk.format, fileBytes };
  const { header } = disk.chain;
  return {
    format: "qcow2",
    fileBytes,
    clusterBytes: header.clusterBytes,
    compat: header.version === 2 ? "0.10" : "1.1",
    compression: header.compression,
    lazyRefcounts: header.hasLazyRefcounts,
    extendedL2: header.hasExtendedL2,
    ...(header.backing === undefined ? {} : { backingFormat: header.backing.format ?? "raw" }),
    externalData: header.dataFile !== undefined,
  };
}

/** What of the file is not in the snapshot. */
export function droppedTexts(disk: GuestDisk): string[] {
  if (disk instanceof QemuSource) {
    const isOpened = disk.format === "encrypted qcow2";
    const text = "it is kept as its guest sees it: the repository's key protects it, not its own";
    return isOpened ? [`${printableName(disk.path)}: ${text}`] : [];
  }
  const { path, chain } = disk;
  const texts: string[] = [];
  const named = (things: readonly { readonly name: string }[]): string =>
    things
      .slice(0, 5)
      .map(({ name }) => printableName(name))
      .join(", ") + (things.length > 5 ? ", …" : "");
  if (chain.snapshots.length > 0)
    texts.push(
      `the disk as it is now is kept, not its internal snapshots: ${named(chain.snapshots)}`,
    );
  if (chain.bitmaps.length > 0) texts.push(`its bitmaps are not kept: ${named(chain.bitmaps)}`);
  return texts.map((text) => `${printableName(path)}: ${text}`);
}

/** The entry's metadata as a listing has it: with the size of the file, not of the disk. */
export function asListed({ metadata, disk }: DirectoryEntry): FileMetadata {
  return disk === undefined ? metadata : { ...metadata, size: disk.fileBytes };
}

/**
 * A guest can write any header into its raw disk, and choose by it what the host reads. So a file is not
 * believed to be a container where its name, or the last backup, has it as a raw disk.
 *
 * @param before  the file in the parent
 * @returns why it is kept as a raw disk; undefined when the header is believed
 */
export function headerDoubt(
  path: string,
  { name }: DiskFormat,
  before: DirectoryEntry | undefined,
): string | undefined {
  if (/\.raw$/i.test(path)) return "its name says that it is a raw disk";
  const wasRaw = before?.content !== undefined && before.disk === undefined;
  if (!wasRaw || !name.endsWith("qcow2") || isQcow2Name(path)) return undefined;
  return "it was a raw disk in the last backup. Was it converted? Let its name end with .qcow2";
}

function isQcow2Name(path: string): boolean {
  return /\.qcow2?$/i.test(path);
}

/** Whether a file that is named, and was kept as its bytes, is to be read as its guest sees it now. */
export function hasGuestView(path: string, before: DirectoryEntry): boolean {
  let fd: number;
  try {
    fd = openSync(nameToBytes(path), constants.O_RDONLY | constants.O_NONBLOCK);
  } catch {
    return false; // Who reads it says why it cannot be opened.
  }
  try {
    const format = diskFormat(fd);
    if (format === undefined || headerDoubt(path, format, before) !== undefined) return false;
    return bytesReason(format) === undefined;
  } finally {
    closeSync(fd);
  }
}

/** Why a file in that format can only be kept as its bytes, and what to do; undefined: it need not be. */
export function bytesReason({ name }: DiskFormat): string | undefined {
  if (name === "qcow2" || name === "encrypted qcow2" || isQemuNbdInstalled()) return undefined;
  return `qemu-nbd, which shows what its guest sees, is missing. ${qemuNbdHint}`;
}

export function failureText(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const hint = error instanceof StoreError ? error.hint : undefined;
  return hint === undefined ? error.message : `${error.message}. ${hint}`;
}
