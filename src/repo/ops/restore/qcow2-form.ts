/** A disk of a snapshot as a qcow2 file: of the kind it was in, or of QEMU's usual one. */
import {
  ClusterSet,
  defaultKind,
  findTableFault,
  holePieces,
  hostOffset,
  layOut,
  openReplacingTarget,
  possibleKind,
  writeTables,
} from "../../../image/index.ts";
import { FailedError, UsageError } from "../../../errors.ts";
import { printableName } from "../../../names.ts";
import type { DirectoryEntry, Settings } from "../../format/index.ts";
import { filePieces, type NodeSource, type Piece } from "../tree-reader.ts";
import type { FileForm } from "./restore-file.ts";

/**
 * Reads the disk's map once to know the layout; the restore reads it again for its content.
 *
 * A part of the map that cannot be read has no clusters, and the restore tells of it.
 */
export async function qcow2Form(
  source: NodeSource,
  entry: DirectoryEntry,
  settings: Settings,
  signal: AbortSignal | undefined,
): Promise<FileForm> {
  const { content, disk, metadata } = entry;
  if (content?.kind !== "image") {
    throw new UsageError(
      `Cannot restore ${printableName(entry.name)} as qcow2: it was kept as a file, not as a disk`,
      { hint: "Leave --format out" },
    );
  }
  const kind = possibleKind(disk?.format === "qcow2" ? disk : defaultKind, metadata.size);
  const clusters = new ClusterSet(kind.clusterBytes);
  const unknown = (): void => undefined;
  for await (const pieces of filePieces(source, entry, settings, unknown)) {
    signal?.throwIfAborted();
    for (const { id, offset, length } of pieces) if (id !== undefined) clusters.add(offset, length);
  }
  const layout = layOut(kind, metadata.size, clusters);
  const { fileBytes, diskBytes } = layout;
  const added = diskBytes - metadata.size;
  return {
    fileBytes,
    ...(added === 0
      ? {}
      : { note: `a qcow2 disk has whole sectors of 512 bytes: it ends with ${added} zeros more` }),
    placement: {
      piecesOf({ id, offset, length }: Piece): readonly Piece[] {
        if (id === undefined) return holePieces(layout, offset, length);
        const host = hostOffset(layout, offset);
        if (host !== undefined) return [{ id, offset: host, length }];
        throw new FailedError(
          `Cannot restore ${printableName(entry.name)}: a part of its map could not be read before, and now it can`,
          { hint: "Run it again: it goes on where it stopped" },
        );
      },
      findFault: (target) => findTableFault(target, layout),
    },
    open: (path, { overwrite }) => openReplacingTarget(path, { size: fileBytes, overwrite }),
    prepare: (target) => writeTables(target, layout),
  };
}
