/**
 * Building a snapshot's tree from the bottom up: directories, lists of chunks, image maps.
 *
 * Each builder takes its parts in order and holds no more than one path of the tree in memory. Equal
 * parts give equal nodes, which are stored once.
 */
import {
  type Chunk,
  type ChunksContent,
  type DirectoryContent,
  type DirectoryEntry,
  encodeDirectory,
  encodeListNode,
  encodeMapNode,
  encodePageNode,
  heightFor,
  type ImageContent,
  inlineChunkCountMax,
  type ListChild,
  type ListContent,
  listFanoutMax,
} from "../format/index.ts";

/** The id of the node that another takes the place of, where there was one: most of it is in both. */
export type FindNodeBefore = () => Promise<Uint8Array | undefined>;

/**
 * Stores a node if it is new.
 *
 * @param findBefore  asked for a new node only
 * @returns its id
 */
export type StoreTree = (node: Uint8Array, findBefore?: FindNodeBefore) => Promise<Uint8Array>;

/**
 * @param entries  in any order
 * @param before  the directory's node in the parent
 */
export async function storeDirectory(
  storeTree: StoreTree,
  entries: readonly DirectoryEntry[],
  before?: Uint8Array,
): Promise<DirectoryContent> {
  const pages = encodeDirectory(entries);
  const [only] = pages;
  if (pages.length === 1) {
    const node = await storeTree(only!.bytes, () => Promise.resolve(before));
    return { kind: "directory", node };
  }
  const stored = [];
  for (const { firstName, entryCount, bytes } of pages)
    stored.push({ firstName, entryCount, node: await storeTree(bytes) });
  return { kind: "directory", node: await storeTree(encodePageNode({ pages: stored })) };
}

/** The map of a disk image: segments are added in order, holes are simply not added. */
export class ImageMapBuilder {
  readonly #storeTree: StoreTree;
  readonly #fanout: number;
  readonly #height: number;
  readonly #nodeBefore: (height: number, number: number) => Promise<Uint8Array | undefined>;
  /** By height - 1: the node being filled and its number at that height. */
  readonly #levels: { number: number; children: (Uint8Array | undefined)[] }[];
  #root: Uint8Array | undefined;

  constructor(
    storeTree: StoreTree,
    options: {
      readonly sizeBytes: number;
      readonly segmentBytes: number;
      readonly fanout: number;
      /** The parent's node of a height at a place. */
      readonly nodeBefore?: (height: number, number: number) => Promise<Uint8Array | undefined>;
    },
  ) {
    this.#nodeBefore = options.nodeBefore ?? (() => Promise.resolve(undefined));
    this.#storeTree = storeTree;
    this.#fanout = options.fanout;
    this.#height = heightFor(options.sizeBytes, options.segmentBytes, options.fanout);
    this.#levels = Array.from({ length: this.#height }, () => ({ number: 0, children: [] }));
  }

  /**
   * @param segment  counts from 0, more than the one before
   * @param node  encoded
   */
  async add(segment: number, node: Uint8Array): Promise<void> {
    const id = await this.#storeTree(node, () => this.#nodeBefore(0, segment));
    await this.#put(0, segment, id);
  }

  /** Like `add`, for a node that is stored already. */
  addStored(segment: number, id: Uint8Array): Promise<void> {
    return this.#put(0, segment, id);
  }

  async finish(): Promise<ImageContent> {
    for (let level = 0; level < this.#height; level++) await this.#flush(level);
    return this.#root === undefined
      ? { kind: "image", height: this.#height }
      : { kind: "image", height: this.#height, root: this.#root };
  }

  async #put(level: number, position: number, node: Uint8Array): Promise<void> {
    const current = this.#levels[level];
    if (current === undefined) {
      this.#root = node;
      return;
    }
    const number = Math.floor(position / this.#fanout);
    if (number !== current.number) await this.#flush(level);
    current.number = number;
    current.children[position % this.#fanout] = node;
  }

  async #flush(level: number): Promise<void> {
    const current = this.#levels[level]!;
    if (current.children.length === 0) return;
    const { number, children } = current;
    current.children = [];
    await this.#put(
      level + 1,
      number,
      await this.#storeTree(encodeMapNode({ height: level + 1, children }), () =>
        this.#nodeBefore(level + 1, number),
      ),
    );
  }
}

/** Leaves end after a chunk whose id says so: an insertion then leaves the leaves behind it as they were. */
const leafChunksMin = 128;
const oneChunkIn = 256;

/** The chunks of an ordinary file, added in order. */
export class ChunkListBuilder {
  readonly #storeTree: StoreTree;
  #leaf: Chunk[] = [];
  /** By height - 1. */
  readonly #levels: ListChild[][] = [];

  constructor(storeTree: StoreTree) {
    this.#storeTree = storeTree;
  }

  async add(chunk: Chunk): Promise<void> {
    this.#leaf.push(chunk);
    const fitsInline = this.#levels.length === 0 && this.#leaf.length <= inlineChunkCountMax;
    if (!fitsInline && (this.#leaf.length >= listFanoutMax || endsLeaf(this.#leaf)))
      await this.#flushLeaf();
  }

  async finish(): Promise<ChunksContent | ListContent> {
    if (this.#levels.length === 0 && this.#leaf.length <= inlineChunkCountMax)
      return { kind: "chunks", chunks: this.#leaf };
    if (this.#leaf.length > 0) await this.#flushLeaf();
    for (let level = 0; ; level++) {
      const children = this.#levels[level]!;
      const isTop = level === this.#levels.length - 1;
      if (isTop && children.length === 1) return { kind: "list", root: children[0]!.node };
      if (children.length > 0) await this.#flushLevel(level);
    }
  }

  async #flushLeaf(): Promise<void> {
    const chunks = this.#leaf;
    this.#leaf = [];
    const length = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    await this.#addChild(0, {
      length,
      node: await this.#storeTree(encodeListNode({ height: 0, chunks })),
    });
  }

  async #flushLevel(level: number): Promise<void> {
    const children = this.#levels[level]!;
    this.#levels[level] = [];
    const length = children.reduce((sum, child) => sum + child.length, 0);
    await this.#addChild(level + 1, {
      length,
      node: await this.#storeTree(encodeListNode({ height: level + 1, children })),
    });
  }

  async #addChild(level: number, child: ListChild): Promise<void> {
    const children = (this.#levels[level] ??= []);
    children.push(child);
    if (children.length === listFanoutMax) await this.#flushLevel(level);
  }
}

function endsLeaf(leaf: readonly Chunk[]): boolean {
  const id = leaf.at(-1)?.id;
  return leaf.length >= leafChunksMin && id !== undefined && id[31]! % oneChunkIn === 0;
}
