/**
 * The tree above an image's segments, of a fan-out that settings fix (128). Positions are absolute:
 * child i of a node of height h that begins at segment s covers fanout^(h-1) segments from
 * s + i * fanout^(h-1). Growing an image therefore keeps every full subtree.
 *
 *   u8 5 ‖ u8 height (1..13) ‖ u16 count ‖ per child: u8 0 (hole) | u8 1 ‖ node id 32
 *
 * Children of height 1 are segment nodes. Holes at the end are left out, so the last child is a node;
 * a subtree that is one hole has no node.
 */
import { assert } from "../../errors.ts";
import { ByteReader } from "./byte-reader.ts";
import { ByteWriter } from "./byte-writer.ts";
import { idBytes } from "./limits.ts";
import { expectNodeType, nodeTypes } from "./node-type.ts";

export interface MapNode {
  readonly height: number;
  /** By position; undefined is a hole, and so is all behind the last. */
  readonly children: readonly (Uint8Array | undefined)[];
}

const heightMax = 13;
const fanoutMax = 1024;

/** The least height that covers an image: 0 when its root is a segment node (or a hole). */
export function heightFor(sizeBytes: number, segmentBytes: number, fanout: number): number {
  assert(Number.isSafeInteger(sizeBytes) && sizeBytes >= 0, "a size is not a safe integer");
  const segments = Math.ceil(sizeBytes / segmentBytes);
  let height = 0;
  for (let covered = 1; covered < segments; covered *= fanout) height++;
  return height;
}

/** @param node  holes at the end may be given; they are not written */
export function encodeMapNode({ height, children }: MapNode): Uint8Array {
  assert(height >= 1 && height <= heightMax, "a map node's height is wrong");
  const count = children.findLastIndex((child) => child !== undefined) + 1;
  assert(count >= 1 && count <= fanoutMax, "a map node has no child, or too many");
  const writer = new ByteWriter(4 + count * 33).u8(nodeTypes.map).u8(height).u16(count);
  for (const child of children.slice(0, count)) {
    assert(child === undefined || child.length === idBytes, "an id is not 32 bytes");
    if (child === undefined) writer.u8(0);
    else writer.u8(1).bytes(child);
  }
  return writer.finish();
}

export function decodeMapNode(bytes: Uint8Array): MapNode {
  const reader = new ByteReader(bytes, "map node");
  expectNodeType(reader, "map");
  const height = reader.u8();
  reader.check(height >= 1 && height <= heightMax, "its height is out of bounds");
  const count = reader.counted(reader.u16(), 1);
  reader.check(count >= 1 && count <= fanoutMax, "it has a wrong count of children");
  const children: (Uint8Array | undefined)[] = [];
  for (let position = 0; position < count; position++) {
    const kind = reader.u8();
    reader.check(kind <= 1, "a child's kind is not known");
    children.push(kind === 0 ? undefined : reader.bytes(idBytes));
  }
  reader.check(children.at(-1) !== undefined, "it ends with a hole");
  reader.end();
  return { height, children };
}
