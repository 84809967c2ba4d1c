/**
 * What the parent snapshot holds at the offsets of a new chunk.
 *
 * A guest writes in place, so a changed chunk mostly differs in a few blocks from what stood there.
 */
import { CorruptionError } from "../../../errors.ts";
import type { NewChunk } from "../../blobs/index.ts";
import {
  blockBytes,
  type DeltaBase,
  deltaBaseCountMax,
  type DirectoryEntry,
  type Settings,
} from "../../format/index.ts";
import {
  imageSegmentNodes,
  mapNodeAt,
  type NodeSource,
  type Piece,
  segmentPieces,
} from "../tree-reader.ts";

export class ParentImage {
  readonly #source: NodeSource;
  readonly #entry: DirectoryEntry;
  readonly #settings: Settings;

  constructor(source: NodeSource, entry: DirectoryEntry, settings: Settings) {
    this.#source = source;
    this.#entry = entry;
    this.#settings = settings;
  }

  /**
   * @param segment  counts from 0
   * @returns for each chunk, the likeliest last
   */
  async candidates(segment: number, chunks: readonly NewChunk[]): Promise<DeltaBase[][]> {
    const pieces = await this.#pieces(segment);
    const start = segment * this.#settings.chunker.image.segmentBytes;
    return chunks.map(({ offset, length }) => candidates(pieces, start + offset, length));
  }

  get size(): number {
    return this.#entry.metadata.size;
  }

  /** Segments that are not one hole, in order. @throws {CorruptionError} when the map cannot be read */
  async *segments(): AsyncGenerator<{ readonly index: number; readonly id: Uint8Array }> {
    const { content, metadata } = this.#entry;
    if (content?.kind !== "image") return;
    yield* imageSegmentNodes(this.#source, content, metadata.size, this.#settings);
  }

  /** All chunks and holes of a segment; none where it is one hole. @throws {CorruptionError} */
  async pieces(segment: number): Promise<readonly Piece[]> {
    const { content, metadata } = this.#entry;
    const { chunker, map } = this.#settings;
    const offset = segment * chunker.image.segmentBytes;
    if (content?.kind !== "image" || offset >= metadata.size) return [];
    const end = Math.min(offset + chunker.image.segmentBytes, metadata.size);
    const id = await mapNodeAt(this.#source, content, { height: 0, number: segment }, map.fanout);
    if (id === undefined) return [{ offset, length: end - offset }];
    const node = await this.#source.readTree(id);
    return segmentPieces(node, offset, end, chunker.image.blockBytes);
  }

  /** The id of the map's node that stood where a new one is stored. */
  async node(height: number, number: number): Promise<Uint8Array | undefined> {
    const { content } = this.#entry;
    if (content?.kind !== "image") return undefined;
    try {
      return await mapNodeAt(this.#source, content, { height, number }, this.#settings.map.fanout);
    } catch (error) {
      if (error instanceof CorruptionError) return undefined;
      throw error;
    }
  }

  /** Chunks of the parent in this segment; none where its map cannot be read. */
  async #pieces(segment: number): Promise<readonly Piece[]> {
    try {
      return await this.pieces(segment);
    } catch (error) {
      if (error instanceof CorruptionError) return [];
      throw error;
    }
  }
}

/** What of them overlaps the chunk, as slices; the one that overlaps most is last. */
function candidates(pieces: readonly Piece[], offset: number, length: number): DeltaBase[] {
  const end = offset + length;
  return pieces
    .flatMap((piece) => {
      const overlap = Math.min(piece.offset + piece.length, end) - Math.max(piece.offset, offset);
      if (piece.id === undefined || overlap <= 0) return [];
      return [{ overlap, base: sliced(piece.id, piece, offset, end) }];
    })
    .sort((a, b) => a.overlap - b.overlap)
    .slice(-deltaBaseCountMax)
    .map(({ base }) => base);
}

function sliced(id: Uint8Array, piece: Piece, from: number, to: number): DeltaBase {
  const first = Math.max(0, Math.floor((from - piece.offset) / blockBytes));
  const last = Math.ceil(Math.min(piece.length, to - piece.offset) / blockBytes);
  const isWhole = first === 0 && last * blockBytes >= piece.length;
  return isWhole ? { id } : { id, slice: { offsetBlocks: first, lengthBlocks: last - first } };
}
