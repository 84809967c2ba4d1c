/** Random access to an image in a snapshot: bytes, holes, and what differs from another snapshot. */
import { fromHex } from "../../bytes.ts";
import { FailedError } from "../../errors.ts";
import { printableName } from "../../names.ts";
import type { DirectoryEntry, ImageContent, Settings } from "../format/index.ts";
import { type ChangedRange, compareImages } from "./diff/image-ranges.ts";
import { type ChunkSource, type ImagePart, PieceReader } from "./piece-reader.ts";
import type { Repository } from "./repository.ts";
import { snapshotEntry } from "./snapshot-entry.ts";
import type { StoredSnapshot } from "./snapshots.ts";
import { mapNodeAt, type Piece, segmentPieces, walkTree } from "./tree-reader.ts";

export interface ImageExtent {
  readonly length: number;
  readonly isHole: boolean;
}

const segmentsKept = 64;
const extentsMost = 4096;
/** One question about a large disk looks at no more of its map than this: who asks goes on from there. */
const segmentsAskedMost = 1024;

export class ImageReader {
  readonly path: string;
  readonly size: number;
  readonly #source: ChunkSource;
  readonly #content: ImageContent;
  readonly #settings: Settings;
  /** In order of use; what is in flight is shared. */
  readonly #segments = new Map<number, Promise<Piece[]>>();
  readonly #pieces: PieceReader;

  static async open(
    repository: Repository,
    snapshot: StoredSnapshot,
    path: string,
  ): Promise<ImageReader> {
    const reader = await repository.reader();
    const entry = await snapshotEntry(reader, snapshot, path);
    const image = ImageReader.of(reader, repository.settings, path, entry);
    if (image !== undefined) return image;
    throw new FailedError(`Cannot serve ${printableName(path)}: it is no disk image`, {
      hint: `See what the snapshot holds: ashlar ls ${snapshot.id.slice(0, 8)}`,
    });
  }

  /** @returns undefined where the entry is no disk image */
  static of(
    source: ChunkSource,
    settings: Settings,
    path: string,
    { metadata, content }: DirectoryEntry,
  ): ImageReader | undefined {
    if (content?.kind !== "image") return undefined;
    return new ImageReader(source, path, metadata.size, content, settings);
  }

  private constructor(
    source: ChunkSource,
    path: string,
    size: number,
    content: ImageContent,
    settings: Settings,
  ) {
    this.#source = source;
    this.path = path;
    this.size = size;
    this.#content = content;
    this.#settings = settings;
    this.#pieces = new PieceReader(source, size, (offset, end) => this.#piecesIn(offset, end));
  }

  /** @returns parts that cover the range, which lies in the image @throws {CorruptionError} */
  read(offset: number, length: number): Promise<ImagePart[]> {
    return this.#pieces.read(offset, length);
  }

  /** Holes and data from `offset` on, neighbours merged; it may end before `length`, but covers something. */
  async extents(offset: number, length: number): Promise<ImageExtent[]> {
    const { segmentBytes } = this.#settings.chunker.image;
    const extents: { length: number; isHole: boolean }[] = [];
    const end = Math.min(offset + length, offset + segmentsAskedMost * segmentBytes);
    for (let at = offset; at < end && extents.length < extentsMost;) {
      const next = Math.min(end, (Math.floor(at / segmentBytes) + 1) * segmentBytes);
      for (const piece of await this.#piecesIn(at, next)) {
        const from = Math.max(at, piece.offset);
        const until = Math.min(next, piece.offset + piece.length);
        const isHole = piece.id === undefined;
        const last = extents.at(-1);
        if (last?.isHole === isHole) last.length += until - from;
        else extents.push({ length: until - from, isHole });
      }
      at = next;
    }
    return extents;
  }

  /** Where this image is not as the other one was; what only one of two sizes has counts as changed. */
  async changedSince(before: ImageReader): Promise<readonly ChangedRange[]> {
    const { ranges } = await compareImages(
      this.#source,
      { content: before.#content, size: before.size },
      { content: this.#content, size: this.size },
      this.#settings,
    );
    return ranges;
  }

  async #piecesIn(offset: number, end: number): Promise<Piece[]> {
    const { segmentBytes } = this.#settings.chunker.image;
    const found: Piece[] = [];
    for (let at = Math.floor(offset / segmentBytes); at * segmentBytes < end; at++) {
      for (const piece of await this.#segment(at))
        if (piece.offset < end && piece.offset + piece.length > offset) found.push(piece);
    }
    return found;
  }

  #segment(index: number): Promise<Piece[]> {
    const known = this.#segments.get(index);
    if (known !== undefined) this.#segments.delete(index);
    const pieces = known ?? this.#readSegment(index);
    this.#segments.set(index, pieces);
    // What failed is asked for again by the next who needs it.
    if (known === undefined) pieces.catch(() => this.#segments.delete(index));
    const oldest = this.#segments.keys().next();
    if (this.#segments.size > segmentsKept && oldest.done !== true)
      this.#segments.delete(oldest.value);
    return pieces;
  }

  async #readSegment(index: number): Promise<Piece[]> {
    const { segmentBytes, blockBytes } = this.#settings.chunker.image;
    const offset = index * segmentBytes;
    const end = Math.min(offset + segmentBytes, this.size);
    const place = { height: 0, number: index };
    const id = await mapNodeAt(this.#source, this.#content, place, this.#settings.map.fanout);
    if (id === undefined) return [{ offset, length: end - offset }];
    return segmentPieces(await this.#source.readTree(id), offset, end, blockBytes);
  }
}

/** Paths of the disk images that a snapshot holds. */
export async function listImages(
  repository: Repository,
  snapshot: StoredSnapshot,
): Promise<string[]> {
  const reader = await repository.reader();
  const paths: string[] = [];
  for await (const { path, entry } of walkTree(reader, fromHex(snapshot.tree)))
    if (isImage(entry)) paths.push(path);
  return paths;
}

function isImage({ content }: DirectoryEntry): boolean {
  return content?.kind === "image";
}
