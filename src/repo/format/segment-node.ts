/**
 * One segment of a disk image (4 MiB unless settings say otherwise): its chunks and holes in order.
 *
 *   u8 4 ‖ per run: u16 (bit 15 hole, bits 0-14 count of 4 KiB blocks, never 0) ‖ chunk id 32 unless a hole
 *
 * Holes never touch, and a segment that is one hole has no node. The image's last chunk may be
 * shorter than its blocks: the image's size says by how much.
 */
import { assert } from "../../errors.ts";
import { ByteReader } from "./byte-reader.ts";
import { ByteWriter } from "./byte-writer.ts";
import { blobPlainBytesMax, blockBytes, idBytes } from "./limits.ts";
import { expectNodeType, nodeTypes } from "./node-type.ts";

export interface SegmentNode {
  /** As stored: high bit hole, low 15 bits blocks. */
  readonly runs: Uint16Array;
  /** 32 bytes for each run that is no hole, in order. */
  readonly ids: Uint8Array;
}

export const holeRun = 0x8000;
const segmentBlocksMax = 16_384;
const chunkBlocksMax = blobPlainBytesMax / blockBytes;

export function encodeSegmentNode({ runs, ids }: SegmentNode): Uint8Array {
  const fault = runsFault(runs);
  assert(fault === undefined, `a segment node ${fault}`);
  const writer = new ByteWriter(1 + runs.length * 2 + ids.length).u8(nodeTypes.segment);
  let at = 0;
  for (const run of runs) {
    writer.u16(run);
    if (run >= holeRun) continue;
    writer.bytes(ids.subarray(at, at + idBytes));
    at += idBytes;
  }
  assert(at === ids.length, "a segment node has other ids than chunks");
  return writer.finish();
}

export function decodeSegmentNode(bytes: Uint8Array): SegmentNode {
  const reader = new ByteReader(bytes, "segment node");
  expectNodeType(reader, "segment");
  const runs: number[] = [];
  const ids: Uint8Array[] = [];
  while (reader.remaining > 0) {
    const run = reader.u16();
    runs.push(run);
    if (run < holeRun) ids.push(reader.bytes(idBytes));
  }
  const node = { runs: Uint16Array.from(runs), ids: new Uint8Array(ids.length * idBytes) };
  for (const [n, id] of ids.entries()) node.ids.set(id, n * idBytes);
  const fault = runsFault(node.runs);
  if (fault !== undefined) reader.fail(`it ${fault}`);
  return node;
}

/** Blocks that a segment's runs cover. */
export function runBlocks(runs: Uint16Array): number {
  return runs.reduce((sum, run) => sum + (run & 0x7fff), 0);
}

function runsFault(runs: Uint16Array): string | undefined {
  let chunks = 0;
  let wasHole = false;
  for (const run of runs) {
    const isHole = run >= holeRun;
    const blocks = run & 0x7fff;
    if (blocks === 0 || (!isHole && blocks > chunkBlocksMax)) return "has a run of a wrong length";
    if (isHole && wasHole) return "has two holes side by side";
    if (!isHole) chunks++;
    wasHole = isHole;
  }
  if (chunks === 0) return "has no chunk";
  return runBlocks(runs) > segmentBlocksMax ? "is larger than a segment" : undefined;
}
