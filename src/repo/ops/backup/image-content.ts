/** A disk image, segment by segment through the lanes, into its map. */
import { mapConcurrent } from "../../../async.ts";
import { BugError, CorruptionError } from "../../../errors.ts";
import type { DiskRange, DiskSource, ImageSegment, SegmentInput } from "../../../image/index.ts";
import {
  type BlobWriter,
  faultOf,
  type FindBases,
  type ReadFault,
  type StoredSegment,
} from "../../blobs/index.ts";
import {
  encodeSegmentNode,
  holeRun,
  type ImageContent,
  type Settings,
} from "../../format/index.ts";
import type { BaseFinder } from "./base-finder.ts";
import { type ReadChunk, storeChangedImage } from "./changed-image.ts";
import { withAdded } from "./changed-ranges.ts";
import type { ParentImage } from "./parent-image.ts";
import type { SourceShare } from "./shared-source.ts";
import { ImageMapBuilder, type StoreTree } from "../tree-writer.ts";

export interface StoredImage {
  readonly content: ImageContent;
  /** What could not be read: then the image stays out of the snapshot, never zeros in its place. */
  readonly fault?: ReadFault & { readonly offset: number };
}

interface SegmentResult {
  readonly index: number;
  readonly offset: number;
  readonly length: number;
  /** Undefined for a segment inside a hole, which is not read. */
  readonly stored: StoredSegment | undefined;
}

/**
 * Reads and stores a disk. Holes are skipped, whatever their length.
 *
 * @param onBytes  is told how far the image has got, holes included
 */
export async function storeImage(
  writer: BlobWriter,
  storeTree: StoreTree,
  image: DiskSource,
  settings: Settings,
  options: {
    readonly segmentsInFlight: number;
    /** The image of the night before, for deltas. */
    readonly parent?: ParentImage | undefined;
    /**
     * What may differ from the parent, which is all stored, beside what was added to its end. Ascending
     * and apart. Only this is read, unless the disk shrank.
     */
    readonly changes?: readonly DiskRange[] | undefined;
    /** The parent's chunks, where they are near. */
    readonly readChunk?: ReadChunk | undefined;
    /** Undefined: no deltas. */
    readonly bases?: BaseFinder | undefined;
    /** Others read the image too, and are to keep up. */
    readonly share?: SourceShare | undefined;
    readonly onBytes: (bytes: number) => void;
    readonly signal?: AbortSignal | undefined;
  },
): Promise<StoredImage> {
  const { segmentBytes } = settings.chunker.image;
  const newMap = (): ImageMapBuilder =>
    new ImageMapBuilder(storeTree, {
      sizeBytes: image.size,
      segmentBytes,
      fanout: settings.map.fanout,
      ...(options.parent === undefined
        ? {}
        : { nodeBefore: (height, number) => options.parent!.node(height, number) }),
    });
  const { parent, changes } = options;
  if (parent !== undefined && changes !== undefined && parent.size <= image.size) {
    const changed = await storeChanges(writer, newMap(), image, settings, options);
    if (changed !== undefined) return changed;
  }
  const map = newMap();
  const results = mapConcurrent(
    image.segments(segmentBytes),
    options.segmentsInFlight,
    async (segment): Promise<SegmentResult> => {
      const { offset, length, state } = segment;
      const place = { index: offset / segmentBytes, offset, length };
      await options.share?.atSegment(place.index);
      if (state === "hole") return { ...place, stored: undefined };
      const findBases = options.bases?.forSegment(options.parent, place.index);
      return { ...place, stored: await storeSegment(writer, image, segment, findBases) };
    },
  );
  for await (const { index, offset, length, stored } of results) {
    options.signal?.throwIfAborted();
    options.onBytes(length);
    if (stored === undefined) continue;
    const fault = stored.fault ?? (stored.bytes < length ? shrank : undefined);
    if (fault !== undefined)
      return { content: await map.finish(), fault: { ...fault, offset: offset + stored.bytes } };
    if (stored.runs.some((run) => run < holeRun)) await map.add(index, encodeSegmentNode(stored));
  }
  return { content: await map.finish() };
}

/** @returns undefined when the parent's map is damaged: then all is read */
async function storeChanges(
  writer: BlobWriter,
  map: ImageMapBuilder,
  source: DiskSource,
  settings: Settings,
  options: Parameters<typeof storeImage>[4],
): Promise<StoredImage | undefined> {
  try {
    const fault = await storeChangedImage(writer, map, {
      source,
      settings,
      parent: options.parent!,
      changes: withAdded(options.changes!, options.parent!.size, source.size),
      readChunk: options.readChunk,
      findBases: (segment) => options.bases?.forSegment(options.parent, segment),
      segmentsInFlight: options.segmentsInFlight,
      onBytes: options.onBytes,
      signal: options.signal,
    });
    return { content: await map.finish(), ...(fault === undefined ? {} : { fault }) };
  } catch (error) {
    if (error instanceof CorruptionError) return undefined;
    throw error;
  }
}

async function storeSegment(
  writer: BlobWriter,
  image: DiskSource,
  segment: ImageSegment,
  findBases: FindBases | undefined,
): Promise<StoredSegment> {
  let input: SegmentInput;
  try {
    input = await image.load(segment);
  } catch (error) {
    if (error instanceof BugError) throw error;
    return { runs: new Uint16Array(0), ids: new Uint8Array(0), bytes: 0, fault: faultOf(error) };
  }
  return writer.storeSegment(input, { findBases });
}

const shrank: ReadFault = { errno: undefined, message: "it became shorter while it was read" };
