/**
 * Random access to content that lies in pieces; what is read in order is fetched ahead.
 *
 * Plain chunks stay in the blob reader's cache, bounded in bytes, and are read once however many ask.
 */
import type { NodeSource, Piece } from "./tree-reader.ts";

/** Bytes, or a hole of that length. */
export type ImagePart = Uint8Array | number;

export interface ChunkSource extends NodeSource {
  readBlob(cls: "data", id: Uint8Array): Promise<Uint8Array>;
}

const readAheadBytes = 2 * 1024 * 1024;

export class PieceReader {
  readonly size: number;
  readonly #source: ChunkSource;
  readonly #piecesIn: (offset: number, end: number) => Promise<readonly Piece[]>;
  #sequentialEnd = -1;
  #aheadEnd = 0;

  /** @param piecesIn  all pieces that have a byte of the range, in order; they may reach out of it */
  constructor(
    source: ChunkSource,
    size: number,
    piecesIn: (offset: number, end: number) => Promise<readonly Piece[]>,
  ) {
    this.#source = source;
    this.size = size;
    this.#piecesIn = piecesIn;
  }

  /** @returns parts that cover the range, which lies in the content @throws {CorruptionError} */
  async read(offset: number, length: number): Promise<ImagePart[]> {
    const pieces = await this.#piecesIn(offset, offset + length);
    if (offset === this.#sequentialEnd) this.#readAhead(offset + length);
    this.#sequentialEnd = offset + length;
    return Promise.all(
      pieces.map(async (piece) => {
        const start = Math.max(offset, piece.offset);
        const end = Math.min(offset + length, piece.offset + piece.length);
        if (piece.id === undefined) return end - start;
        const chunk = await this.#source.readBlob("data", piece.id);
        return chunk.subarray(start - piece.offset, end - piece.offset);
      }),
    );
  }

  /** Nobody waits for it: a failure shows where the range is really read. */
  #readAhead(offset: number): void {
    const end = Math.min(this.size, offset + readAheadBytes);
    const start = this.#aheadEnd > offset && this.#aheadEnd <= end ? this.#aheadEnd : offset;
    if (end - start < readAheadBytes / 4) return;
    this.#aheadEnd = end;
    const reading = this.#piecesIn(start, end).then((pieces) =>
      Promise.all(
        pieces.flatMap(({ id }) => (id === undefined ? [] : [this.#source.readBlob("data", id)])),
      ),
    );
    reading.catch(() => undefined);
  }
}
