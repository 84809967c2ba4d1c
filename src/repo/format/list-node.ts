/**
 * The chunks of a file that has more than 256 of them: a tree whose leaves list chunks and whose
 * other nodes list nodes with the bytes each covers.
 *
 *   u8 3 ‖ u8 height ‖ u16 count (1..1024) ‖ items
 *   height 0: chunks (file-content.ts);  above: per child varint length in bytes ‖ node id 32
 */
import { assert } from "../../errors.ts";
import { ByteReader } from "./byte-reader.ts";
import { ByteWriter } from "./byte-writer.ts";
import { chunkLengthMax, readChunk, writeChunk, type Chunk } from "./file-content.ts";
import { idBytes, listFanoutMax } from "./limits.ts";
import { expectNodeType, nodeTypes } from "./node-type.ts";

export interface ListLeaf {
  readonly height: 0;
  readonly chunks: readonly Chunk[];
}

export interface ListChild {
  /** Bytes of the file under this node. */
  readonly length: number;
  readonly node: Uint8Array;
}

export interface ListInner {
  /** One more than its children's. */
  readonly height: number;
  readonly children: readonly ListChild[];
}

export type ListNode = ListLeaf | ListInner;

const heightMax = 8;

export function isListLeaf(node: ListNode): node is ListLeaf {
  return "chunks" in node;
}

export function encodeListNode(node: ListNode): Uint8Array {
  const count = isListLeaf(node) ? node.chunks.length : node.children.length;
  assert(count >= 1 && count <= listFanoutMax, "a list node has 1..1024 items");
  assert(
    isListLeaf(node) === (node.height === 0) && node.height <= heightMax,
    "a list node's height is wrong",
  );
  const writer = new ByteWriter(4 + count * 40).u8(nodeTypes.list).u8(node.height).u16(count);
  if (isListLeaf(node)) for (const chunk of node.chunks) writeChunk(writer, chunk);
  else for (const child of node.children) writeChild(writer, child);
  return writer.finish();
}

function writeChild(writer: ByteWriter, { length, node }: ListChild): void {
  assert(length >= 1 && length <= chunkLengthMax, "a list node covers no bytes");
  assert(node.length === idBytes, "an id is not 32 bytes");
  writer.varint(length).bytes(node);
}

export function decodeListNode(bytes: Uint8Array): ListNode {
  const reader = new ByteReader(bytes, "list node");
  expectNodeType(reader, "list");
  const height = reader.u8();
  reader.check(height <= heightMax, "it is too high");
  const count = reader.u16();
  reader.check(count >= 1 && count <= listFanoutMax, "it has a wrong count of items");
  const node: ListNode =
    height === 0
      ? { height, chunks: Array.from({ length: count }, () => readChunk(reader)) }
      : { height, children: Array.from({ length: count }, () => readChild(reader)) };
  reader.end();
  return node;
}

function readChild(reader: ByteReader): ListChild {
  const length = reader.varint();
  reader.check(length >= 1 && length <= chunkLengthMax, "a child's length is out of bounds");
  return { length, node: reader.bytes(idBytes) };
}
