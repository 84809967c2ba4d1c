/** A file's bytes in order, read ahead: for standard output, or whoever takes a stream. */
import { mapConcurrent } from "../../async.ts";
import { FailedError } from "../../errors.ts";
import { printableName } from "../../names.ts";
import type { DirectoryEntry } from "../format/index.ts";
import type { Repository } from "./repository.ts";
import { Session } from "./sessions.ts";
import { snapshotEntry } from "./snapshot-entry.ts";
import type { StoredSnapshot } from "./snapshots.ts";
import { filePieces, type NodeSource, type Piece } from "./tree-reader.ts";

/** Chunks of an image are at most 256 KiB: some 8 MiB are under way. */
const chunksAhead = 32;
const zeros = new Uint8Array(1024 * 1024);

/**
 * Holes come as zeros.
 *
 * @throws {CorruptionError} at the first chunk that cannot be read; all before it has been yielded
 * @throws {FailedError} when the path is no file
 */
export async function* dump(
  repository: Repository,
  snapshot: StoredSnapshot,
  path: string,
  { signal }: { readonly signal?: AbortSignal | undefined } = {},
): AsyncGenerator<Uint8Array> {
  const session = await Session.startReader(repository, [snapshot.id]);
  try {
    const reader = await repository.reader();
    const entry = await snapshotEntry(reader, snapshot, path);
    if (entry.metadata.type !== "file") {
      throw new FailedError(
        `Cannot dump ${printableName(path)}: it is a ${entry.metadata.type}, only files and images are dumped`,
        { hint: "Directories come back with: ashlar restore SNAP:PATH --target DIR" },
      );
    }
    const parts = mapConcurrent(piecesOf(reader, entry, repository), chunksAhead, async (piece) =>
      piece.id === undefined ? piece.length : reader.readBlob("data", piece.id),
    );
    for await (const part of parts) {
      signal?.throwIfAborted();
      if (typeof part === "number") yield* zeroBytes(part, signal);
      else yield part;
    }
  } finally {
    await session?.abort();
  }
}

async function* piecesOf(
  source: NodeSource,
  entry: DirectoryEntry,
  { settings }: Repository,
): AsyncGenerator<Piece> {
  for await (const pieces of filePieces(source, entry, settings)) yield* pieces;
}

function* zeroBytes(length: number, signal: AbortSignal | undefined): Generator<Uint8Array> {
  for (let left = length; left > 0; left -= zeros.length) {
    signal?.throwIfAborted();
    yield left < zeros.length ? zeros.subarray(0, left) : zeros;
  }
}
