/**
 * Reading some of what a dirty bitmap calls clean: a bitmap that is wrong loses changes without a word,
 * so a sample of chunks is compared with the parent snapshot.
 */
import { toHex } from "../../../bytes.ts";
import { FailedError } from "../../../errors.ts";
import type { DiskRange } from "../../../image/index.ts";
import { printableName } from "../../../names.ts";
import type { DirectoryEntry } from "../../format/index.ts";
import type { Piece } from "../tree-reader.ts";
import type { DiskBackupContext } from "./disk-backup.ts";
import type { OpenDisk } from "./disk-set.ts";

/** What a bitmap called clean is not what the parent snapshot has. */
export class StaleBitmapError extends FailedError {}

/** @throws {StaleBitmapError} */
export async function auditUnchanged(
  context: DiskBackupContext,
  disk: OpenDisk,
  before: DirectoryEntry,
  changes: readonly DiskRange[],
): Promise<void> {
  const { audit, random, signal, writer } = context;
  let next = 0;
  for await (const pieces of context.pieces(before)) {
    signal?.throwIfAborted();
    for (const piece of pieces) {
      while (next < changes.length && endOf(changes[next]!) <= piece.offset) next++;
      const change = changes[next];
      const end = piece.offset + piece.length;
      if (end > disk.source.size || (change !== undefined && change.offset < end)) continue;
      // Holes may be long, and are told rather than read: what stands in them is not sampled.
      if (piece.id === undefined || !isChosen(random(4), audit)) continue;
      const plain = new Uint8Array(piece.length);
      await disk.source.read(piece.offset, plain);
      if (toHex(writer.chunkId(plain)) !== toHex(piece.id)) throw stale(disk, piece);
    }
  }
}

function endOf({ offset, length }: DiskRange): number {
  return offset + length;
}

function isChosen(four: Uint8Array, share: number): boolean {
  return Buffer.from(four).readUInt32LE() < share * 2 ** 32;
}

function stale(disk: OpenDisk, { offset, length }: Piece): StaleBitmapError {
  return new StaleBitmapError(
    `Cannot trust the dirty bitmap of ${printableName(disk.source.path)}: bytes ${offset} to ${offset + length} ` +
      "differ from the last snapshot, and it calls them clean",
    {
      hint: "Snapshots since the last full read may lack changes: something wrote past QEMU. The next run reads everything",
    },
  );
}
