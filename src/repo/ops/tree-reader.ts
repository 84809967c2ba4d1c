/**
 * Reading what a snapshot holds: directories, and where the bytes of a file lie.
 *
 * Works on any source of tree nodes: the repository, or a host's own copy of its last snapshot.
 */
import {
  decodeDirectoryNode,
  decodeListNode,
  decodeMapNode,
  decodePageNode,
  decodeSegmentNode,
  type DirectoryEntry,
  heightFor,
  holeRun,
  type ImageContent,
  isListLeaf,
  type ListNode,
  type MapNode,
  nodeTypeOf,
  type Settings,
} from "../format/index.ts";
import { mapConcurrent } from "../../async.ts";
import { CorruptionError } from "../../errors.ts";

export interface NodeSource {
  /** @throws {CorruptionError} when the node is missing or damaged */
  readTree(id: Uint8Array): Promise<Uint8Array>;
  /** Fetches nodes that will be read before this is disposed of, where that takes fewer requests. */
  holdTrees?(ids: readonly Uint8Array[]): Promise<Disposable>;
}

export interface TreeEntry {
  /** From the snapshot's root, beginning with `/`. */
  readonly path: string;
  readonly entry: DirectoryEntry;
}

/** A piece of a file: a chunk, or a hole (no id), which reads as zeros. */
export interface Piece {
  readonly offset: number;
  readonly length: number;
  readonly id?: Uint8Array;
}

/** The root directory has no entry of its own: this stands for it where one is wanted. */
export function rootEntry(node: Uint8Array): DirectoryEntry {
  const metadata = {
    type: "dir",
    mode: 0,
    uid: 0,
    gid: 0,
    user: "",
    group: "",
    mtimeNs: 0n,
    atimeNs: 0n,
    ctimeNs: 0n,
    size: 0,
    inode: 0n,
    deviceId: 0n,
    links: 1,
    xattrs: [],
  } as const;
  return { name: "", metadata, content: { kind: "directory", node } };
}

/** Entries of a directory, in order of their names' bytes. */
export async function* directoryEntries(
  source: NodeSource,
  node: Uint8Array,
): AsyncGenerator<DirectoryEntry> {
  const bytes = await source.readTree(node);
  if (nodeTypeOf(bytes) === "directory") {
    yield* decodeDirectoryNode(bytes).entries;
    return;
  }
  for (const page of decodePageNode(bytes).pages)
    yield* decodeDirectoryNode(await source.readTree(page.node)).entries;
}

/**
 * Every entry below a directory, parents before children.
 *
 * @param descend  answers whether to go into a directory
 * @param onDamage  is told of a directory that cannot be read, which is then skipped; without it the error is thrown
 */
export async function* walkTree(
  source: NodeSource,
  root: Uint8Array,
  options: {
    readonly path?: string;
    readonly descend?: (entry: TreeEntry) => boolean;
    readonly onDamage?: (path: string, error: CorruptionError) => void;
  } = {},
): AsyncGenerator<TreeEntry> {
  const { path = "", descend, onDamage } = options;
  const entries = directoryEntries(source, root);
  for (;;) {
    let next: IteratorResult<DirectoryEntry>;
    try {
      next = await entries.next();
    } catch (error) {
      if (onDamage === undefined || !(error instanceof CorruptionError)) throw error;
      onDamage(path === "" ? "/" : path, error);
      return;
    }
    if (next.done === true) return;
    const found = { path: `${path}/${next.value.name}`, entry: next.value };
    yield found;
    const { content } = found.entry;
    if (content?.kind === "directory" && (descend?.(found) ?? true)) {
      yield* walkTree(source, content.node, { ...options, path: found.path });
    }
  }
}

/** The entry at a path of the snapshot; undefined when there is none. The root itself has no entry. */
export async function findEntry(
  source: NodeSource,
  root: Uint8Array,
  path: string,
): Promise<DirectoryEntry | undefined> {
  let node: Uint8Array | undefined = root;
  let found: DirectoryEntry | undefined;
  for (const name of path.split("/").filter((part) => part !== "")) {
    if (node === undefined) return undefined;
    found = await entryNamed(source, node, name);
    if (found === undefined) return undefined;
    node = found.content?.kind === "directory" ? found.content.node : undefined;
  }
  return found;
}

/** Told of a part of a file of which a damaged or missing node leaves unknown what it holds. */
export type OnDamagedPart = (
  part: { readonly offset: number; readonly length: number },
  error: CorruptionError,
) => void;

/** Nodes of an image's map that are read ahead of their use. */
const segmentsAhead = 16;

/**
 * Where a file's bytes lie, in order, in batches; together they cover its size exactly.
 *
 * @param onDamage  is told of parts that cannot be known, which are then left out; without it the error is thrown
 */
export async function* filePieces(
  source: NodeSource,
  { metadata, content }: DirectoryEntry,
  settings: Settings,
  onDamage?: OnDamagedPart,
): AsyncGenerator<Piece[]> {
  switch (content?.kind) {
    case "chunks":
      yield placed(content.chunks, 0);
      break;
    case "list":
      yield* listPieces(source, content.root, 0, metadata.size, onDamage);
      break;
    case "image":
      yield* imagePieces(source, content, metadata.size, settings, onDamage);
  }
}

/** Every tree node and chunk that an entry's content is made of; for directories, not their children's. */
export async function* contentNodes(
  source: NodeSource,
  { metadata, content }: DirectoryEntry,
  settings: Settings,
): AsyncGenerator<ContentNode> {
  switch (content?.kind) {
    case "directory": {
      const bytes = await source.readTree(content.node);
      yield { nodes: [content.node], chunks: [] };
      if (nodeTypeOf(bytes) === "pages")
        yield { nodes: decodePageNode(bytes).pages.map((page) => page.node), chunks: [] };
      break;
    }
    case "chunks":
      yield {
        nodes: [],
        chunks: content.chunks.flatMap(({ id }) => (id === undefined ? [] : [id])),
      };
      break;
    case "list":
      yield* listNodes(source, content.root);
      break;
    case "image":
      if (content.root !== undefined) {
        checkHeight(content, metadata.size, settings);
        yield* mapNodes(source, content.root, content.height);
      }
  }
}

export interface ContentNode {
  readonly nodes: readonly Uint8Array[];
  readonly chunks: readonly Uint8Array[];
}

/** Both cuts of one loop over a segment's runs. */
export function segmentPieces(
  node: Uint8Array,
  offset: number,
  end: number,
  blockBytes: number,
): Piece[] {
  const { runs, ids } = decodeSegmentNode(node);
  const pieces: Piece[] = [];
  let at = offset;
  let taken = 0;
  for (const run of runs) {
    const length = Math.min((run & 0x7fff) * blockBytes, end - at);
    if (length <= 0)
      throw new CorruptionError("Cannot decode segment node: it reaches past the end of its image");
    if (run >= holeRun) pieces.push({ offset: at, length });
    else pieces.push({ offset: at, length, id: ids.subarray(taken++ * 32, taken * 32) });
    at += length;
  }
  if (at < end)
    throw new CorruptionError("Cannot decode segment node: it does not cover its segment");
  return pieces;
}

async function entryNamed(
  source: NodeSource,
  node: Uint8Array,
  name: string,
): Promise<DirectoryEntry | undefined> {
  const bytes = await source.readTree(node);
  if (nodeTypeOf(bytes) === "directory")
    return decodeDirectoryNode(bytes).entries.find((entry) => entry.name === name);
  for await (const entry of directoryEntries(source, node)) if (entry.name === name) return entry;
  return undefined;
}

/** Chunks one after the other, from an offset on. */
export function placed(
  chunks: readonly { readonly length: number; readonly id?: Uint8Array }[],
  offset: number,
): Piece[] {
  let at = offset;
  return chunks.map((chunk) => {
    const piece = { offset: at, ...chunk };
    at += chunk.length;
    return piece;
  });
}

async function* listPieces(
  source: NodeSource,
  id: Uint8Array,
  offset: number,
  end: number,
  onDamage: OnDamagedPart | undefined,
): AsyncGenerator<Piece[]> {
  let node: ListNode;
  try {
    node = await listNodeOf(source, id, end - offset);
  } catch (error) {
    if (onDamage === undefined || !(error instanceof CorruptionError)) throw error;
    onDamage({ offset, length: end - offset }, error);
    return;
  }
  if (isListLeaf(node)) {
    yield placed(node.chunks, offset);
    return;
  }
  let at = offset;
  for (const child of node.children) {
    yield* listPieces(source, child.node, at, at + child.length, onDamage);
    at += child.length;
  }
}

/** @throws {CorruptionError} also when it does not cover just the bytes that its parent says */
export async function listNodeOf(
  source: NodeSource,
  id: Uint8Array,
  length: number,
): Promise<ListNode> {
  const node = decodeListNode(await source.readTree(id));
  const items = isListLeaf(node) ? node.chunks : node.children;
  if (items.reduce((sum, item) => sum + item.length, 0) === length) return node;
  throw new CorruptionError("Cannot decode list node: its length is not what its parent says");
}

async function* listNodes(source: NodeSource, id: Uint8Array): AsyncGenerator<ContentNode> {
  const node = decodeListNode(await source.readTree(id));
  if (isListLeaf(node)) {
    yield {
      nodes: [id],
      chunks: node.chunks.flatMap((chunk) => (chunk.id === undefined ? [] : [chunk.id])),
    };
    return;
  }
  yield { nodes: [id], chunks: [] };
  for (const child of node.children) yield* listNodes(source, child.node);
}

function checkHeight({ height }: ImageContent, size: number, settings: Settings): void {
  const expected = heightFor(size, settings.chunker.image.segmentBytes, settings.map.fanout);
  if (height !== expected)
    throw new CorruptionError(`Cannot read image map: its height is ${height}, not ${expected}`);
}

async function* imagePieces(
  source: NodeSource,
  content: ImageContent,
  size: number,
  settings: Settings,
  onDamage: OnDamagedPart | undefined,
): AsyncGenerator<Piece[]> {
  const { segmentBytes, blockBytes } = settings.chunker.image;
  const lost = (offset: number, end: number, error: unknown): void => {
    if (onDamage === undefined || !(error instanceof CorruptionError)) throw error;
    onDamage({ offset, length: end - offset }, error);
  };
  try {
    checkHeight(content, size, settings);
  } catch (error) {
    lost(0, size, error);
    return;
  }
  const readPart = async (part: MapPart): Promise<PlacedPart> => {
    const offset = part.index * segmentBytes;
    const end = Math.min((part.index + part.count) * segmentBytes, size);
    if ("error" in part) return { offset, end, error: part.error };
    try {
      if (offset >= size)
        throw new CorruptionError("Cannot read image map: it reaches past the end of its image");
      const node = await source.readTree(part.id);
      return { offset, end, pieces: segmentPieces(node, offset, end, blockBytes) };
    } catch (error) {
      return { offset, end, error };
    }
  };
  const parts = mapParts(source, content.root, content.height, 0, settings.map.fanout);
  let done = 0;
  for await (const part of mapConcurrent(parts, segmentsAhead, readPart)) {
    const { offset, end } = part;
    if (offset > done) yield [{ offset: done, length: Math.min(offset, size) - done }];
    if ("error" in part) lost(offset, Math.max(offset, end), part.error);
    else yield part.pieces;
    done = Math.max(done, end);
  }
  if (done < size) yield [{ offset: done, length: size - done }];
}

type PlacedPart = { readonly offset: number; readonly end: number } & (
  { readonly pieces: Piece[] } | { readonly error: unknown }
);

/** A segment, or as many as a damaged node covers. */
type MapPart = { readonly index: number; readonly count: number } & (
  { readonly id: Uint8Array } | { readonly error: CorruptionError }
);

/**
 * The id of a node of an image's map, counted from 0 among those of its height (0: segments);
 * undefined where there is none.
 */
export async function mapNodeAt(
  source: NodeSource,
  content: ImageContent,
  place: { readonly height: number; readonly number: number },
  fanout: number,
): Promise<Uint8Array | undefined> {
  let node = content.root;
  if (place.number >= fanout ** (content.height - place.height)) return undefined;
  for (let height = content.height; height > place.height && node !== undefined; height--) {
    const position = Math.floor(place.number / fanout ** (height - 1 - place.height)) % fanout;
    node = decodeMapNode(await source.readTree(node)).children[position];
  }
  return node;
}

/** The segments of an image that have a node, in order. @throws {CorruptionError} when its map cannot be read */
export async function* imageSegmentNodes(
  source: NodeSource,
  content: ImageContent,
  size: number,
  settings: Settings,
): AsyncGenerator<{ readonly index: number; readonly id: Uint8Array }> {
  checkHeight(content, size, settings);
  for await (const part of mapParts(source, content.root, content.height, 0, settings.map.fanout)) {
    if ("error" in part) throw part.error;
    yield { index: part.index, id: part.id };
  }
}

async function* mapParts(
  source: NodeSource,
  root: Uint8Array | undefined,
  height: number,
  first: number,
  fanout: number,
): AsyncGenerator<MapPart> {
  if (root === undefined) return;
  if (height === 0) {
    yield { index: first, count: 1, id: root };
    return;
  }
  let node: MapNode;
  try {
    node = await mapNodeOf(source, root, height, fanout);
  } catch (error) {
    if (!(error instanceof CorruptionError)) throw error;
    yield { index: first, count: fanout ** height, error };
    return;
  }
  const span = fanout ** (height - 1);
  for (const [position, child] of node.children.entries()) {
    yield* mapParts(source, child, height - 1, first + position * span, fanout);
  }
}

async function mapNodeOf(
  source: NodeSource,
  id: Uint8Array,
  height: number,
  fanout: number,
): Promise<MapNode> {
  const node = decodeMapNode(await source.readTree(id));
  if (node.height === height && node.children.length <= fanout) return node;
  throw new CorruptionError(
    "Cannot read image map: a node is not of the height or fan-out of its place",
  );
}

async function* mapNodes(
  source: NodeSource,
  id: Uint8Array,
  height: number,
): AsyncGenerator<ContentNode> {
  const bytes = await source.readTree(id);
  if (height === 0) {
    const { ids } = decodeSegmentNode(bytes);
    yield {
      nodes: [id],
      chunks: Array.from({ length: ids.length / 32 }, (_, n) => ids.subarray(n * 32, n * 32 + 32)),
    };
    return;
  }
  yield { nodes: [id], chunks: [] };
  const children = decodeMapNode(bytes).children.filter((child) => child !== undefined);
  const held = height === 1 ? await source.holdTrees?.(children) : undefined;
  try {
    for (const child of children) yield* mapNodes(source, child, height - 1);
  } finally {
    held?.[Symbol.dispose]();
  }
}
