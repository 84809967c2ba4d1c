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
  nodeTypeOf,
  type Settings,
} from "../format/index.ts";
import { CorruptionError } from "../../errors.ts";

export interface NodeSource {
  /** @throws {CorruptionError} when the node is missing or damaged */
  readTree(id: Uint8Array): Promise<Uint8Array>;
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

/** Where a file's bytes lie, in order, in batches; together they cover its size exactly. */
export async function* filePieces(
  source: NodeSource,
  { metadata, content }: DirectoryEntry,
  settings: Settings,
): AsyncGenerator<Piece[]> {
  switch (content?.kind) {
    case "chunks":
      yield placed(content.chunks, 0);
      break;
    case "list":
      yield* listPieces(source, content.root, 0, metadata.size);
      break;
    case "image":
      yield* imagePieces(source, content, metadata.size, settings);
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

function placed(
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
): AsyncGenerator<Piece[]> {
  const node = decodeListNode(await source.readTree(id));
  const total = (isListLeaf(node) ? node.chunks : node.children).reduce(
    (sum, item) => sum + item.length,
    0,
  );
  if (offset + total !== end)
    throw new CorruptionError("Cannot decode list node: its length is not what its parent says");
  if (isListLeaf(node)) {
    yield placed(node.chunks, offset);
    return;
  }
  let at = offset;
  for (const child of node.children) {
    yield* listPieces(source, child.node, at, at + child.length);
    at += child.length;
  }
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
): AsyncGenerator<Piece[]> {
  checkHeight(content, size, settings);
  const { segmentBytes, blockBytes } = settings.chunker.image;
  let hole = 0; // where the hole that has not been yielded yet begins
  for await (const { index, id } of mapSegments(
    source,
    content.root,
    content.height,
    0,
    settings.map.fanout,
  )) {
    const offset = index * segmentBytes;
    const end = Math.min(offset + segmentBytes, size);
    if (offset >= size)
      throw new CorruptionError("Cannot read image map: it reaches past the end of its image");
    if (offset > hole) yield [{ offset: hole, length: offset - hole }];
    yield segmentPieces(await source.readTree(id), offset, end, blockBytes);
    hole = end;
  }
  if (hole < size) yield [{ offset: hole, length: size - hole }];
}

/** The segments that are not holes, in order. */
export async function* mapSegments(
  source: NodeSource,
  root: Uint8Array | undefined,
  height: number,
  first: number,
  fanout: number,
): AsyncGenerator<{ readonly index: number; readonly id: Uint8Array }> {
  if (root === undefined) return;
  if (height === 0) {
    yield { index: first, id: root };
    return;
  }
  const node = decodeMapNode(await source.readTree(root));
  if (node.height !== height || node.children.length > fanout) {
    throw new CorruptionError(
      "Cannot read image map: a node is not of the height or fan-out of its place",
    );
  }
  const span = fanout ** (height - 1);
  for (const [position, child] of node.children.entries()) {
    yield* mapSegments(source, child, height - 1, first + position * span, fanout);
  }
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
  for (const child of decodeMapNode(bytes).children) {
    if (child !== undefined) yield* mapNodes(source, child, height - 1);
  }
}
