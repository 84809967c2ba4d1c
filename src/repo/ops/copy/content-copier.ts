/**
 * A file's content from one repository into another: its chunks, and the nodes that list them, named
 * anew. Where the same file of an earlier snapshot was copied, both are walked side by side (the *twin*):
 * what has not changed since is taken over without reading a byte of it.
 */
import { mapConcurrent } from "../../../async.ts";
import { equalBytes, toHex } from "../../../bytes.ts";
import {
  type Chunk,
  decodeListNode,
  decodeMapNode,
  decodeSegmentNode,
  encodeListNode,
  encodeMapNode,
  encodeSegmentNode,
  type EntryContent,
  idBytes,
  isListLeaf,
  type ListChild,
  type ListLeaf,
} from "../../format/index.ts";
import type { NodeSource } from "../tree-reader.ts";
import type { StoreTree } from "../tree-writer.ts";
import { IdMemory } from "./id-memory.ts";

/** The same thing in both repositories. */
export interface Twin<T> {
  readonly source: T;
  readonly target: T;
}

export interface ContentCopierOptions {
  readonly source: NodeSource;
  readonly target: NodeSource;
  readonly storeTree: StoreTree;
  /** @returns the chunk's id in the target */
  readonly copyChunk: (id: Uint8Array) => Promise<Uint8Array>;
  readonly signal: AbortSignal | undefined;
}

type KnownIds = ReadonlyMap<string, Uint8Array>;

const noIds: KnownIds = new Map();
/** Segments of which the chunks are asked for together; what is read at once is the chunk copier's bound. */
const segmentsAtOnce = 32;
/** Of up to 1024 chunks each. */
const leavesAtOnce = 4;
/** Nodes that are fetched together; some 3 KiB each. */
const nodesAhead = 256;
const rememberedMost = 65_536;

export class ContentCopier {
  readonly #options: ContentCopierOptions;
  /** Nodes that were copied by this run, so that sibling images share what they share. */
  readonly #nodes = new IdMemory(rememberedMost);

  constructor(options: ContentCopierOptions) {
    this.#options = options;
  }

  /** @param twin  an earlier copy of the same file, all of it in the target still */
  async copy(content: EntryContent, twin?: Twin<EntryContent>): Promise<EntryContent> {
    switch (content.kind) {
      case "chunks": {
        const chunksOf = (other: EntryContent): readonly Chunk[] =>
          other.kind === "chunks" ? other.chunks : [];
        const known =
          twin === undefined ? noIds : chunkPairs(chunksOf(twin.source), chunksOf(twin.target));
        return { kind: "chunks", chunks: await this.#chunks(content.chunks, known) };
      }
      case "list": {
        const roots = twinOf(twin, (other) => (other.kind === "list" ? other.root : undefined));
        return { kind: "list", root: await this.#list(content.root, roots) };
      }
      case "image": {
        const { root, height } = content;
        if (root === undefined) return content;
        const roots = twinOf(twin, (other) =>
          other.kind === "image" && other.height === height ? other.root : undefined,
        );
        return { kind: "image", height, root: await this.#map(root, height, roots) };
      }
      case "directory":
        return content;
    }
  }

  async #map(
    node: Uint8Array,
    height: number,
    twin: Twin<Uint8Array> | undefined,
  ): Promise<Uint8Array> {
    if (twin !== undefined && equalBytes(node, twin.source)) return twin.target;
    const known = this.#nodes.get(node);
    if (known !== undefined) return known;
    const copied = await (height === 0
      ? this.#segment(node, twin)
      : this.#mapNode(node, height, twin));
    this.#nodes.set(node, copied);
    return copied;
  }

  async #mapNode(
    node: Uint8Array,
    height: number,
    twin: Twin<Uint8Array> | undefined,
  ): Promise<Uint8Array> {
    const { source, storeTree } = this.#options;
    const { children } = decodeMapNode(await source.readTree(node));
    const before = await this.#bothOf(twin, decodeMapNode);
    const copies: (Uint8Array | undefined)[] = [];
    const sides = children.map((child, position) => ({
      child,
      twin: bothThere({
        source: before?.source.children[position],
        target: before?.target.children[position],
      }),
    }));
    type Side = (typeof sides)[number];
    const copy = async (side: Side): Promise<Uint8Array | undefined> =>
      side.child === undefined ? undefined : this.#map(side.child, height - 1, side.twin);
    for (let from = 0; from < sides.length; from += nodesAhead) {
      const some = sides.slice(from, from + nodesAhead);
      const held = height === 1 ? await this.#hold(some) : undefined;
      const atOnce = height === 1 ? segmentsAtOnce : 1;
      try {
        for await (const child of mapConcurrent(some, atOnce, copy)) copies.push(child);
      } finally {
        held?.[Symbol.dispose]();
      }
    }
    return storeTree(encodeMapNode({ height, children: copies }), () =>
      Promise.resolve(twin?.target),
    );
  }

  /** Fetches the nodes that have changed since, and what they were. */
  async #hold(
    sides: readonly {
      readonly child: Uint8Array | undefined;
      readonly twin: Twin<Uint8Array> | undefined;
    }[],
  ): Promise<Disposable> {
    const { source, target } = this.#options;
    const changed = sides.filter(
      ({ child, twin }) =>
        child !== undefined &&
        this.#nodes.get(child) === undefined &&
        (twin === undefined || !equalBytes(child, twin.source)),
    );
    const twins = changed.flatMap(({ twin }) => (twin === undefined ? [] : [twin]));
    const nodes = [...changed.map(({ child }) => child!), ...twins.map((twin) => twin.source)];
    const held = await Promise.all([
      source.holdTrees?.(nodes),
      target.holdTrees?.(twins.map((twin) => twin.target)),
    ]);
    return {
      [Symbol.dispose]: () => {
        for (const one of held) one?.[Symbol.dispose]();
      },
    };
  }

  async #segment(node: Uint8Array, twin: Twin<Uint8Array> | undefined): Promise<Uint8Array> {
    const { source, storeTree, signal } = this.#options;
    signal?.throwIfAborted();
    const { runs, ids } = decodeSegmentNode(await source.readTree(node));
    const before = await this.#bothOf(twin, decodeSegmentNode);
    const known =
      before === undefined ||
      Buffer.compare(bytesOf(before.source.runs), bytesOf(before.target.runs)) !== 0
        ? noIds
        : pairs(split(before.source.ids), split(before.target.ids));
    const copied = await this.#ids(split(ids), known);
    const joined = new Uint8Array(ids.length);
    for (const [n, id] of copied.entries()) joined.set(id, n * idBytes);
    return storeTree(encodeSegmentNode({ runs, ids: joined }), () => Promise.resolve(twin?.target));
  }

  /** Leaves move when a file grows in its middle, so they are known by their ids, wherever they stand. */
  async #list(root: Uint8Array, twin: Twin<Uint8Array> | undefined): Promise<Uint8Array> {
    if (twin === undefined) return this.#listNode(root, noIds, noIds);
    if (equalBytes(root, twin.source)) return twin.target;
    const leaves = new Map<string, Twin<Uint8Array>>();
    await this.#listLeaves(twin, leaves);
    const kept = new Map<string, Uint8Array>();
    for await (const leaf of this.#leafIds(root)) {
      const key = toHex(leaf);
      const same = leaves.get(key);
      if (same === undefined) continue;
      kept.set(key, same.target);
      leaves.delete(key);
    }
    // What is left was in the earlier file only: its chunks may stand in the new leaves.
    const chunks = new Map<string, Uint8Array>();
    for (const leaf of leaves.values()) {
      const { source: before, target: after } = await this.#both(leaf, decodeListNode);
      if (!isListLeaf(before) || !isListLeaf(after)) continue;
      for (const [key, id] of chunkPairs(before.chunks, after.chunks)) chunks.set(key, id);
    }
    return this.#listNode(root, kept, chunks);
  }

  async #listLeaves(twin: Twin<Uint8Array>, leaves: Map<string, Twin<Uint8Array>>): Promise<void> {
    const { source: before, target: after } = await this.#both(twin, decodeListNode);
    if (isListLeaf(before)) {
      leaves.set(toHex(twin.source), twin);
      return;
    }
    if (isListLeaf(after) || after.children.length !== before.children.length) return;
    for (const [n, child] of before.children.entries()) {
      const { length, node } = after.children[n]!;
      if (length !== child.length) return;
      const pair = { source: child.node, target: node };
      if (before.height === 1) leaves.set(toHex(child.node), pair);
      else await this.#listLeaves(pair, leaves);
    }
  }

  async *#leafIds(root: Uint8Array): AsyncGenerator<Uint8Array> {
    const node = decodeListNode(await this.#options.source.readTree(root));
    if (isListLeaf(node)) yield root;
    else {
      for (const child of node.children) {
        if (node.height === 1) yield child.node;
        else yield* this.#leafIds(child.node);
      }
    }
  }

  async #listNode(node: Uint8Array, kept: KnownIds, chunks: KnownIds): Promise<Uint8Array> {
    const known = kept.get(toHex(node)) ?? this.#nodes.get(node);
    if (known !== undefined) return known;
    const { source, storeTree, signal } = this.#options;
    signal?.throwIfAborted();
    const decoded = decodeListNode(await source.readTree(node));
    const copied = await (async (): Promise<Uint8Array> => {
      if (isListLeaf(decoded)) {
        const leaf: ListLeaf = { ...decoded, chunks: await this.#chunks(decoded.chunks, chunks) };
        return storeTree(encodeListNode(leaf));
      }
      const children: ListChild[] = [];
      const copy = async (child: ListChild): Promise<ListChild> => ({
        ...child,
        node: await this.#listNode(child.node, kept, chunks),
      });
      const atOnce = decoded.height === 1 ? leavesAtOnce : 1;
      for await (const child of mapConcurrent(decoded.children, atOnce, copy)) children.push(child);
      return storeTree(encodeListNode({ ...decoded, children }));
    })();
    this.#nodes.set(node, copied);
    return copied;
  }

  async #chunks(chunks: readonly Chunk[], known: KnownIds): Promise<Chunk[]> {
    const ids = (await this.#ids(idsOf(chunks), known)).values();
    return chunks.map((chunk) =>
      chunk.id === undefined ? chunk : { ...chunk, id: ids.next().value! },
    );
  }

  #ids(ids: readonly Uint8Array[], known: KnownIds): Promise<Uint8Array[]> {
    return Promise.all(ids.map(async (id) => known.get(toHex(id)) ?? this.#options.copyChunk(id)));
  }

  async #bothOf<T>(
    twin: Twin<Uint8Array> | undefined,
    decode: (bytes: Uint8Array) => T,
  ): Promise<Twin<T> | undefined> {
    return twin === undefined ? undefined : this.#both(twin, decode);
  }

  async #both<T>(twin: Twin<Uint8Array>, decode: (bytes: Uint8Array) => T): Promise<Twin<T>> {
    const { source, target } = this.#options;
    const [before, after] = await Promise.all([
      source.readTree(twin.source),
      target.readTree(twin.target),
    ]);
    return { source: decode(before), target: decode(after) };
  }
}

/** As `pairs`, for chunks of the same lengths. */
function chunkPairs(source: readonly Chunk[], target: readonly Chunk[]): KnownIds {
  const shape = (chunks: readonly Chunk[]): string =>
    chunks.map(({ length, id }) => (id === undefined ? -length : length)).join();
  return shape(source) === shape(target) ? pairs(idsOf(source), idsOf(target)) : noIds;
}

function bytesOf(runs: Uint16Array): Uint8Array {
  return new Uint8Array(runs.buffer, runs.byteOffset, runs.byteLength);
}

/** Ids that stand at the same place; none where the two are not made alike. */
function pairs(source: readonly Uint8Array[], target: readonly Uint8Array[]): KnownIds {
  if (source.length !== target.length) return noIds;
  return new Map(source.map((id, n) => [toHex(id), target[n]!]));
}

function idsOf(chunks: readonly Chunk[]): Uint8Array[] {
  return chunks.flatMap(({ id }) => (id === undefined ? [] : [id]));
}

function split(ids: Uint8Array): Uint8Array[] {
  return Array.from({ length: ids.length / idBytes }, (_, n) =>
    ids.subarray(n * idBytes, (n + 1) * idBytes),
  );
}

function twinOf(
  twin: Twin<EntryContent> | undefined,
  rootOf: (content: EntryContent) => Uint8Array | undefined,
): Twin<Uint8Array> | undefined {
  if (twin === undefined) return undefined;
  return bothThere({ source: rootOf(twin.source), target: rootOf(twin.target) });
}

function bothThere({ source, target }: Twin<Uint8Array | undefined>): Twin<Uint8Array> | undefined {
  return source === undefined || target === undefined ? undefined : { source, target };
}
