import fc from "fast-check";
import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { toHex } from "../../src/bytes.ts";
import { type DirectoryEntry, encodeSegmentNode } from "../../src/repo/format/index.ts";
import { defaultSettingsForTest } from "../support/settings.ts";
import {
  directoryEntries,
  filePieces,
  type NodeSource,
  type Piece,
} from "../../src/repo/ops/tree-reader.ts";
import {
  ChunkListBuilder,
  ImageMapBuilder,
  storeDirectory,
} from "../../src/repo/ops/tree-writer.ts";

/** Nodes in memory, by SHA-256: what stores and reads trees needs no more. */
class Nodes implements NodeSource {
  readonly stored = new Map<string, Uint8Array>();
  readonly storeTree = (bytes: Uint8Array): Promise<Uint8Array> => {
    const id = idOf(bytes);
    this.stored.set(toHex(id), bytes);
    return Promise.resolve(id);
  };

  readTree(id: Uint8Array): Promise<Uint8Array> {
    return Promise.resolve(this.stored.get(toHex(id))!);
  }
}

function idOf(bytes: Uint8Array | string): Uint8Array {
  return new Uint8Array(createHash("sha256").update(bytes).digest());
}

const settings = defaultSettingsForTest();
const { segmentBytes, blockBytes } = settings.chunker.image;

function fileEntry(
  size: number,
  content: DirectoryEntry["content"],
  name = "disk",
): DirectoryEntry {
  return {
    name,
    metadata: {
      type: "file",
      mode: 0o644,
      uid: 0,
      gid: 0,
      user: "",
      group: "",
      mtimeNs: 0n,
      atimeNs: 0n,
      ctimeNs: 0n,
      size,
      inode: 1n,
      deviceId: 1n,
      links: 1,
      xattrs: [],
    },
    ...(content === undefined ? {} : { content }),
  };
}

async function piecesOf(nodes: Nodes, entry: DirectoryEntry): Promise<Piece[]> {
  const pieces: Piece[] = [];
  for await (const batch of filePieces(nodes, entry, settings)) pieces.push(...batch);
  return pieces;
}

function expectCovers(pieces: readonly Piece[], size: number): void {
  let at = 0;
  for (const piece of pieces) {
    expect(piece.offset).toBe(at);
    at += piece.length;
  }
  expect(at).toBe(size);
}

describe("ImageMapBuilder", () => {
  const segmentOf = (index: number, blocks: number): Uint8Array =>
    encodeSegmentNode({ runs: Uint16Array.of(blocks), ids: idOf(`segment ${index}`) });

  async function mapOf(
    nodes: Nodes,
    sizeBytes: number,
    segments: readonly number[],
  ): Promise<DirectoryEntry> {
    const map = new ImageMapBuilder(nodes.storeTree, {
      sizeBytes,
      segmentBytes,
      fanout: settings.map.fanout,
    });
    for (const index of segments) {
      const blocks = Math.ceil(
        Math.min(segmentBytes, sizeBytes - index * segmentBytes) / blockBytes,
      );
      await map.add(index, segmentOf(index, blocks));
    }
    return fileEntry(sizeBytes, await map.finish());
  }

  it("gives back every segment at its place and holes between, for any size", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 40_000 }),
        fc.integer({ min: 0, max: segmentBytes - 1 }),
        fc.uniqueArray(fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }), {
          maxLength: 12,
        }),
        async (wholeSegments, rest, places) => {
          const sizeBytes = wholeSegments * segmentBytes + rest;
          const count = Math.ceil(sizeBytes / segmentBytes);
          const segments = [...new Set(places.map((place) => Math.floor(place * count)))].sort(
            (a, b) => a - b,
          );
          const nodes = new Nodes();
          const pieces = await piecesOf(nodes, await mapOf(nodes, sizeBytes, segments));
          expectCovers(pieces, sizeBytes);
          expect(
            pieces
              .filter((piece) => piece.id !== undefined)
              .map((piece) => piece.offset / segmentBytes),
          ).toEqual(segments);
        },
      ),
      { numRuns: 30 },
    );
  });

  it("has no node for an image that is one hole, however large", async () => {
    const nodes = new Nodes();
    const entry = await mapOf(nodes, 16 * 2 ** 40, []);
    expect(nodes.stored.size).toBe(0);
    expectCovers(await piecesOf(nodes, entry), 16 * 2 ** 40);
  });

  it("keeps the subtrees of an image that grows", async () => {
    const nodes = new Nodes();
    const full = Array.from({ length: 128 }, (_, index) => index);
    await mapOf(nodes, 128 * segmentBytes, full);
    const before = nodes.stored.size;
    await mapOf(nodes, 129 * segmentBytes, [...full, 128]);
    // The new segment, the node above it, and the new root.
    expect(nodes.stored.size - before).toBe(3);
  });
});

describe("ChunkListBuilder", () => {
  async function listOf(nodes: Nodes, names: readonly string[]): Promise<DirectoryEntry> {
    const list = new ChunkListBuilder(nodes.storeTree);
    for (const name of names) await list.add({ length: 5, id: idOf(name) });
    return fileEntry(names.length * 5, await list.finish());
  }

  const numbered = (count: number): string[] =>
    Array.from({ length: count }, (_, n) => `chunk ${n}`);

  it.each([0, 1, 255, 256, 257, 1024, 1025, 5000])(
    "gives back %i chunks in order",
    async (count) => {
      const nodes = new Nodes();
      const entry = await listOf(nodes, numbered(count));
      expect(entry.content!.kind).toBe(count <= 256 ? "chunks" : "list");
      const pieces = await piecesOf(nodes, entry);
      expectCovers(pieces, count * 5);
      expect(pieces.map((piece) => toHex(piece.id!))).toEqual(
        numbered(count).map((name) => toHex(idOf(name))),
      );
    },
  );

  it("changes few nodes when a chunk is inserted at the front", async () => {
    const nodes = new Nodes();
    await listOf(nodes, numbered(20_000));
    const before = nodes.stored.size;
    await listOf(nodes, ["new", ...numbered(20_000)]);
    expect(nodes.stored.size - before).toBeLessThanOrEqual(4);
  });
});

describe("storeDirectory()", () => {
  it("pages a directory of many names, and reads it back in order", async () => {
    const nodes = new Nodes();
    const names = Array.from({ length: 30_000 }, (_, n) => `file-${String(n).padStart(6, "0")}`);
    const { node } = await storeDirectory(
      nodes.storeTree,
      names.map((name) => fileEntry(0, { kind: "chunks", chunks: [] }, name)),
    );
    expect(nodes.stored.size).toBeGreaterThan(2);
    const read: string[] = [];
    for await (const entry of directoryEntries(nodes, node)) read.push(entry.name);
    expect(read).toEqual(names);
  });
});
