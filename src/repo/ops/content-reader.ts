/** Random access to what a file of a snapshot holds, an image or not. */
import { assert } from "../../errors.ts";
import { type DirectoryEntry, isListLeaf, type Settings } from "../format/index.ts";
import { ImageReader } from "./image-reader.ts";
import { type ChunkSource, type ImagePart, PieceReader } from "./piece-reader.ts";
import { listNodeOf, type NodeSource, type Piece, placed } from "./tree-reader.ts";

export interface ContentReader {
  /** @returns parts that cover the range, which lies in the content @throws {CorruptionError} */
  read(offset: number, length: number): Promise<ImagePart[]>;
}

/** @param entry  a file's */
export function contentReader(
  source: ChunkSource,
  settings: Settings,
  path: string,
  entry: DirectoryEntry,
): ContentReader {
  const { content, metadata } = entry;
  const { size } = metadata;
  switch (content?.kind) {
    case "chunks": {
      const pieces = placed(content.chunks, 0);
      return new PieceReader(source, size, (offset, end) =>
        Promise.resolve(overlapping(pieces, offset, end)),
      );
    }
    case "list": {
      const list = new ListedPieces(source, content.root, size);
      return new PieceReader(source, size, (offset, end) => list.piecesIn(offset, end));
    }
    default: {
      const image = ImageReader.of(source, settings, path, entry);
      assert(image !== undefined, "what is read is a file");
      return image;
    }
  }
}

interface Leaf {
  readonly offset: number;
  readonly end: number;
  readonly pieces: readonly Piece[];
}

/** The chunks of a long file, of which one leaf at a time is kept. */
class ListedPieces {
  readonly #source: NodeSource;
  readonly #root: Uint8Array;
  readonly #size: number;
  #leaf: Leaf | undefined;

  constructor(source: NodeSource, root: Uint8Array, size: number) {
    this.#source = source;
    this.#root = root;
    this.#size = size;
  }

  async piecesIn(offset: number, end: number): Promise<Piece[]> {
    const found: Piece[] = [];
    for (let at = offset; at < end;) {
      const leaf = await this.#leafAt(at);
      found.push(...overlapping(leaf.pieces, at, end));
      at = leaf.end;
    }
    return found;
  }

  async #leafAt(offset: number): Promise<Leaf> {
    const kept = this.#leaf;
    if (kept !== undefined && offset >= kept.offset && offset < kept.end) return kept;
    const leaf = await this.#readLeaf(offset);
    this.#leaf = leaf;
    return leaf;
  }

  async #readLeaf(offset: number): Promise<Leaf> {
    let id = this.#root;
    let start = 0;
    let end = this.#size;
    for (;;) {
      const node = await listNodeOf(this.#source, id, end - start);
      if (isListLeaf(node)) return { offset: start, end, pieces: placed(node.chunks, start) };
      for (const child of node.children) {
        end = start + child.length;
        id = child.node;
        if (offset < end) break;
        start = end;
      }
    }
  }
}

function overlapping(pieces: readonly Piece[], offset: number, end: number): Piece[] {
  return pieces.filter((piece) => piece.offset < end && piece.offset + piece.length > offset);
}
