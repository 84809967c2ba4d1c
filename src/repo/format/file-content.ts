/**
 * What an entry holds: a directory its node, a file its bytes. Short files name their chunks in the
 * entry, longer ones a list (list-node.ts), disk images a map (map-node.ts).
 *
 * A chunk is  varint length * 2 (+ 1 for a hole) ‖ id 32 unless a hole.
 */
import { assert } from "../../errors.ts";
import type { ByteReader } from "./byte-reader.ts";
import type { ByteWriter } from "./byte-writer.ts";
import { blobPlainBytesMax, idBytes } from "./limits.ts";

/** A piece of a file: bytes with an id, or a hole (no id) that reads as zeros. */
export interface Chunk {
  readonly length: number;
  readonly id?: Uint8Array;
}

/** A file's bytes in at most 256 chunks; empty for an empty file. */
export interface ChunksContent {
  readonly kind: "chunks";
  readonly chunks: readonly Chunk[];
}

/** A file's bytes in a list; the entry's size is the sum of its chunks. */
export interface ListContent {
  readonly kind: "list";
  readonly root: Uint8Array;
}

/** A disk image; the entry's size is the disk's. */
export interface ImageContent {
  readonly kind: "image";
  /** `heightFor` the size: 0 when the root is a segment node. */
  readonly height: number;
  /** Absent when the whole disk is a hole. */
  readonly root?: Uint8Array;
}

export interface DirectoryContent {
  readonly kind: "directory";
  /** A directory node's blob, or a page node's. */
  readonly node: Uint8Array;
}

export type EntryContent = ChunksContent | ListContent | ImageContent | DirectoryContent;

/** Twice a length must still be a safe integer. */
export const chunkLengthMax = 2 ** 52 - 1;

export function writeChunk(writer: ByteWriter, { length, id }: Chunk): void {
  assert(
    length >= 1 && length <= (id === undefined ? chunkLengthMax : blobPlainBytesMax),
    "a chunk's length is out of bounds",
  );
  writer.varint(length * 2 + (id === undefined ? 1 : 0));
  if (id === undefined) return;
  assert(id.length === idBytes, "an id is not 32 bytes");
  writer.bytes(id);
}

export function readChunk(reader: ByteReader): Chunk {
  const code = reader.varint();
  const isHole = code % 2 === 1;
  const length = (code - (isHole ? 1 : 0)) / 2;
  reader.check(
    length >= 1 && (isHole || length <= blobPlainBytesMax),
    "a chunk's length is out of bounds",
  );
  return isHole ? { length } : { length, id: reader.bytes(idBytes) };
}
