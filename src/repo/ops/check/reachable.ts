/**
 * Walks what snapshots hold and names every file that cannot be restored whole.
 *
 * A node below which all is well is marked, one bit, and never read again: a second snapshot costs
 * what it changed. Nodes above damage are walked for each snapshot, since each has its own paths.
 */
import { fromHex } from "../../../bytes.ts";
import { mapConcurrent } from "../../../async.ts";
import { CorruptionError } from "../../../errors.ts";
import { type BlobIndex, BlobMarks } from "../../blob-index/index.ts";
import {
  decodeDirectoryNode,
  decodeListNode,
  decodeMapNode,
  decodePageNode,
  type DirectoryEntry,
  heightFor,
  isListLeaf,
  nodeTypeOf,
  type Settings,
} from "../../format/index.ts";
import type { StoredSnapshot } from "../snapshots.ts";
import { type NodeSource, segmentPieces } from "../tree-reader.ts";
import type { BlobAvailability } from "./blob-availability.ts";

export interface ReachableOptions {
  readonly source: NodeSource;
  readonly index: Pick<BlobIndex, "lookupAll" | "packCount" | "blobCount">;
  readonly availability: BlobAvailability;
  readonly settings: Settings;
  readonly signal?: AbortSignal | undefined;
  readonly onHurt: (snapshot: StoredSnapshot, path: string, loss: Loss) => void;
}

export interface Loss {
  readonly chunks: number;
  readonly bytes: number;
  readonly message: string;
}

const none: Loss = { chunks: 0, bytes: 0, message: "" };
/** Segment nodes of an image fetched at a time. */
const segmentsInFlight = 16;

export class ReachableCheck {
  readonly #options: ReachableOptions;
  readonly #clean: BlobMarks;

  constructor(options: ReachableOptions) {
    this.#options = options;
    this.#clean = new BlobMarks(options.index);
  }

  /** @returns whether the snapshot can be restored whole */
  async snapshot(snapshot: StoredSnapshot): Promise<boolean> {
    return this.#directory(snapshot, fromHex(snapshot.tree), "/", true);
  }

  async #directory(
    snapshot: StoredSnapshot,
    id: Uint8Array,
    path: string,
    mayBePages: boolean,
  ): Promise<boolean> {
    if (this.#isClean(id)) return true;
    this.#options.signal?.throwIfAborted();
    let isWhole = true;
    try {
      const bytes = await this.#options.source.readTree(id);
      if (mayBePages && nodeTypeOf(bytes) === "pages") {
        for (const page of decodePageNode(bytes).pages)
          isWhole = (await this.#directory(snapshot, page.node, path, false)) && isWhole;
      } else {
        for (const entry of decodeDirectoryNode(bytes).entries)
          isWhole = (await this.#entry(snapshot, entry, path)) && isWhole;
      }
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error;
      this.#options.onHurt(snapshot, path, { ...none, message: `folder lost: ${error.message}` });
      return false;
    }
    if (isWhole) this.#setClean(id);
    return isWhole;
  }

  async #entry(snapshot: StoredSnapshot, entry: DirectoryEntry, folder: string): Promise<boolean> {
    const path = `${folder === "/" ? "" : folder}/${entry.name}`;
    if (entry.content?.kind === "directory")
      return this.#directory(snapshot, entry.content.node, path, true);
    const loss = await this.lossOf(entry);
    if (loss === undefined) return true;
    this.#options.onHurt(snapshot, path, loss);
    return false;
  }

  /** What a file lacks; undefined when it is whole. */
  async lossOf(entry: DirectoryEntry): Promise<Loss | undefined> {
    const loss = await this.#content(entry);
    return loss === none ? undefined : loss;
  }

  async #content({ metadata, content }: DirectoryEntry): Promise<Loss> {
    switch (content?.kind) {
      case "chunks":
        return this.#chunks(content.chunks);
      case "list":
        return this.#list(content.root, metadata.size);
      case "image": {
        const { settings } = this.#options;
        const { segmentBytes } = settings.chunker.image;
        if (content.height !== heightFor(metadata.size, segmentBytes, settings.map.fanout))
          return { chunks: 0, bytes: metadata.size, message: "its map has a wrong height" };
        if (content.root === undefined) return none;
        return this.#map(content.root, content.height, 0, metadata.size);
      }
      default:
        return none;
    }
  }

  #chunks(chunks: readonly { readonly id?: Uint8Array; readonly length: number }[]): Loss {
    let lost = 0;
    let bytes = 0;
    for (const { id, length } of chunks) {
      if (id === undefined || this.#options.availability.isReadable("data", id)) continue;
      lost++;
      bytes += length;
    }
    return lost === 0 ? none : { chunks: lost, bytes, message: "chunks lost" };
  }

  /** @param length  bytes below this node */
  async #list(id: Uint8Array, length: number): Promise<Loss> {
    return this.#node(id, length, async (bytes) => {
      const node = decodeListNode(bytes);
      if (isListLeaf(node)) return this.#chunks(node.chunks);
      let loss = none;
      for (const child of node.children)
        loss = sum(loss, await this.#list(child.node, child.length));
      return loss;
    });
  }

  /** @param first  number of the first segment below this node */
  async #map(id: Uint8Array, height: number, first: number, size: number): Promise<Loss> {
    const { chunker, map } = this.#options.settings;
    const { segmentBytes, blockBytes } = chunker.image;
    const offset = first * segmentBytes;
    const end = Math.min(size, offset + segmentBytes * map.fanout ** height);
    return this.#node(id, end - offset, async (bytes) => {
      if (height === 0) return this.#chunks(segmentPieces(bytes, offset, end, blockBytes));
      const node = decodeMapNode(bytes);
      if (node.height !== height || node.children.length > map.fanout)
        throw new CorruptionError("a node of its map is not of the height or fan-out of its place");
      const span = map.fanout ** (height - 1);
      const children = node.children.flatMap((child, position) =>
        child === undefined ? [] : [{ child, first: first + position * span }],
      );
      let loss = none;
      const below = mapConcurrent(children, height === 1 ? segmentsInFlight : 1, (item) =>
        this.#map(item.child, height - 1, item.first, size),
      );
      for await (const part of below) loss = sum(loss, part);
      return loss;
    });
  }

  async #node(
    id: Uint8Array,
    length: number,
    below: (bytes: Uint8Array) => Promise<Loss> | Loss,
  ): Promise<Loss> {
    if (this.#isClean(id)) return none;
    this.#options.signal?.throwIfAborted();
    try {
      const loss = await below(await this.#options.source.readTree(id));
      if (loss === none) this.#setClean(id);
      return loss;
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error;
      return { chunks: 0, bytes: length, message: `what it is made of is lost: ${error.message}` };
    }
  }

  #isClean(id: Uint8Array): boolean {
    return this.#options.index
      .lookupAll("tree", id)
      .some((location) => this.#clean.isMarked(location));
  }

  #setClean(id: Uint8Array): void {
    for (const location of this.#options.index.lookupAll("tree", id)) this.#clean.mark(location);
  }
}

function sum(a: Loss, b: Loss): Loss {
  if (b === none) return a;
  if (a === none) return b;
  return { chunks: a.chunks + b.chunks, bytes: a.bytes + b.bytes, message: a.message };
}
