/**
 * Where two states of an image differ: their maps are walked top down side by side, and equal subtrees
 * are passed over by their ids, so that an idle disk costs one comparison.
 *
 * What is compared are chunks: a range is as long as the chunks that changed, not as the bytes in them.
 */
import { mapConcurrent } from "../../../async.ts";
import { equalBytes } from "../../../bytes.ts";
import { CorruptionError } from "../../../errors.ts";
import { decodeMapNode, type ImageContent, type Settings } from "../../format/index.ts";
import { type NodeSource, type Piece, segmentPieces } from "../tree-reader.ts";

export interface ChangedRange {
  readonly offset: number;
  readonly length: number;
}

export interface ImageState {
  readonly content: ImageContent;
  readonly size: number;
}

/** A node of either map at a height, and where the segments below it begin. */
interface NodePair {
  readonly before: Uint8Array | undefined;
  readonly after: Uint8Array | undefined;
  readonly height: number;
  readonly first: number;
}

const segmentsAhead = 16;

export interface ImageChange {
  /** In order, neighbours merged. What only one of two sizes has counts as changed. */
  readonly ranges: readonly ChangedRange[];
  /** How many bytes more are data, and no hole. */
  readonly allocatedGrowth: number;
}

export async function compareImages(
  source: NodeSource,
  before: ImageState,
  after: ImageState,
  settings: Settings,
): Promise<ImageChange> {
  const ranges = new RangeList();
  let allocatedGrowth = 0;
  const { segmentBytes } = settings.chunker.image;
  const common = Math.min(before.size, after.size);
  const pairs = changedSegments(source, before.content, after.content, settings.map.fanout);
  const compared = mapConcurrent(pairs, segmentsAhead, async ({ before: b, after: a, first }) => {
    const offset = first * segmentBytes;
    const piecesOf = (id: Uint8Array | undefined, size: number) =>
      segmentOf(source, id, offset, Math.min(offset + segmentBytes, size), settings);
    const [old, now] = [await piecesOf(b, before.size), await piecesOf(a, after.size)];
    return { some: differences(old, now), growth: dataBytes(now) - dataBytes(old) };
  });
  for await (const { some, growth } of compared) {
    for (const { offset, length } of some) ranges.add(offset, Math.min(offset + length, common));
    allocatedGrowth += growth;
  }
  ranges.add(common, Math.max(before.size, after.size));
  return { ranges: ranges.all, allocatedGrowth };
}

function dataBytes(pieces: readonly Piece[]): number {
  return pieces.reduce((sum, { id, length }) => sum + (id === undefined ? 0 : length), 0);
}

async function segmentOf(
  source: NodeSource,
  id: Uint8Array | undefined,
  offset: number,
  end: number,
  settings: Settings,
): Promise<Piece[]> {
  if (end <= offset) return [];
  if (id === undefined) return [{ offset, length: end - offset }];
  return segmentPieces(await source.readTree(id), offset, end, settings.chunker.image.blockBytes);
}

async function* changedSegments(
  source: NodeSource,
  before: ImageContent,
  after: ImageContent,
  fanout: number,
): AsyncGenerator<NodePair> {
  const height = Math.max(before.height, after.height);
  /** A lower map stands at the first place of a higher one. */
  const childrenOf = async (
    id: Uint8Array | undefined,
    ownHeight: number,
    at: number,
  ): Promise<readonly (Uint8Array | undefined)[]> => {
    if (id === undefined) return [];
    if (ownHeight < at) return [id];
    const node = decodeMapNode(await source.readTree(id));
    if (node.height === at && node.children.length <= fanout) return node.children;
    throw new CorruptionError("Cannot read image map: a node is not of the height of its place");
  };
  async function* compare(pair: NodePair, heights: [number, number]): AsyncGenerator<NodePair> {
    const [heightBefore, heightAfter] = heights;
    const isSame = isSameNode(pair.before, pair.after);
    if (isSame && (heightBefore === heightAfter || pair.before === undefined)) return;
    if (pair.height === 0) {
      yield pair;
      return;
    }
    const old = await childrenOf(pair.before, heightBefore, pair.height);
    const now = await childrenOf(pair.after, heightAfter, pair.height);
    const below = pair.height - 1;
    const span = fanout ** below;
    for (let at = 0; at < Math.max(old.length, now.length); at++) {
      const child = { before: old[at], after: now[at], height: below };
      yield* compare({ ...child, first: pair.first + at * span }, [
        Math.min(heightBefore, below),
        Math.min(heightAfter, below),
      ]);
    }
  }
  const roots = { before: before.root, after: after.root, height, first: 0 };
  yield* compare(roots, [before.height, after.height]);
}

function isSameNode(a: Uint8Array | undefined, b: Uint8Array | undefined): boolean {
  return a === undefined || b === undefined ? a === b : equalBytes(a, b);
}

/** Bytes that are not of the same chunk at the same place. */
function differences(before: readonly Piece[], after: readonly Piece[]): ChangedRange[] {
  const changed: ChangedRange[] = [];
  let [b, a] = [0, 0];
  for (;;) {
    const old = before[b];
    const now = after[a];
    if (old === undefined || now === undefined) return changed;
    const start = Math.max(old.offset, now.offset);
    const end = Math.min(old.offset + old.length, now.offset + now.length);
    const isHole = old.id === undefined && now.id === undefined;
    const isChunk = old.offset === now.offset && old.length === now.length;
    if (!isHole && !(isChunk && isSameNode(old.id, now.id)))
      changed.push({ offset: start, length: end - start });
    if (old.offset + old.length === end) b++;
    if (now.offset + now.length === end) a++;
  }
}

class RangeList {
  readonly all: { offset: number; length: number }[] = [];

  add(offset: number, end: number): void {
    if (end <= offset) return;
    const last = this.all.at(-1);
    if (last !== undefined && last.offset + last.length === offset) last.length += end - offset;
    else this.all.push({ offset, length: end - offset });
  }
}
