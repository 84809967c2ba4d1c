/** A qcow2 file as an entry of a snapshot: what its guest sees, and of what kind it was. */
import { closeSync, constants, openSync } from "node:fs";
import type { FileMetadata } from "../../../file-metadata.ts";
import { StoreError } from "../../../errors.ts";
import type { SourceFile } from "../../../files/index.ts";
import { diskFormat, Qcow2Source } from "../../../image/index.ts";
import { nameToBytes, printableName } from "../../../names.ts";
import { openZstd } from "../../blobs/index.ts";
import type { DirectoryEntry, DiskDetails } from "../../format/index.ts";

/** Takes the file's descriptor over. @throws {StoreError} when it cannot be read */
export function openQcow2({ fd, path }: SourceFile, backingDirs: readonly string[]): Qcow2Source {
  let engine: ReturnType<typeof openZstd> | undefined;
  return new Qcow2Source(fd, path, {
    backingDirs,
    zstd: (frame, plainBytes) => (engine ??= openZstd("off")).decompress(frame, plainBytes),
  });
}

export function diskDetails({ chain }: Qcow2Source, fileBytes: number): DiskDetails {
  const { header } = chain;
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
export function droppedTexts({ path, chain }: Qcow2Source): string[] {
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

export function isQcow2File(path: string): boolean {
  let fd: number;
  try {
    fd = openSync(nameToBytes(path), constants.O_RDONLY | constants.O_NONBLOCK);
  } catch {
    return false; // Who reads it says why it cannot be opened.
  }
  try {
    return diskFormat(fd)?.name === "qcow2";
  } finally {
    closeSync(fd);
  }
}

export function failureText(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const hint = error instanceof StoreError ? error.hint : undefined;
  return hint === undefined ? error.message : `${error.message}. ${hint}`;
}
