/** What the writer of qcow2 files makes: QEMU finds no fault in it, and our own reader reads it equal. */
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  ClusterSet,
  defaultKind,
  findTableFault,
  holePieces,
  hostOffset,
  layOut,
  openReplacingTarget,
  possibleKind,
  type Qcow2Kind,
  writeTables,
} from "../../../src/image/index.ts";
import { requires } from "../../support/requires.ts";
import { contentOf, hasQemuImg, openQcow2, qemuImg } from "./qemu-img.ts";

let folder: string;
const at = (name: string): string => join(folder, name);

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "ashlar-write-"));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

interface Part {
  readonly offset: number;
  readonly bytes: Buffer;
}

/** Writes a disk with these parts as a restore does: tables, then each part at its place. */
async function writeDisk(
  path: string,
  wanted: Partial<Qcow2Kind>,
  size: number,
  parts: readonly Part[],
): Promise<number> {
  const kind = possibleKind({ ...defaultKind, ...wanted }, size);
  const clusters = new ClusterSet(kind.clusterBytes);
  for (const { offset, bytes } of parts) clusters.add(offset, bytes.length);
  const layout = layOut(kind, size, clusters);
  using target = openReplacingTarget(path, { size: layout.fileBytes, overwrite: true });
  await writeTables(target, layout);
  for (const { offset, bytes } of parts)
    writeSync(target.fd, bytes, 0, bytes.length, hostOffset(layout, offset));
  expect(await findTableFault(target, layout)).toBeUndefined();
  target.finish({ fsync: false });
  return layout.fileBytes;
}

function noise(length: number, seed: number): Buffer {
  return Buffer.from(Uint8Array.from({ length }, (_, n) => ((n * 31 + seed) % 255) + 1));
}

const mib = 2 ** 20;

describe("a qcow2 file that was written", () => {
  const clusterSizes = [512, 4096, 65_536, 2 ** 21];
  const kinds = [
    ...clusterSizes.map((clusterBytes) => ({ clusterBytes, compat: "0.10" }) as const),
    ...clusterSizes.map((clusterBytes) => ({ clusterBytes, compat: "1.1" }) as const),
    { lazyRefcounts: true },
    { compression: "zstd" },
    { extendedL2: true, clusterBytes: 16_384 },
    { extendedL2: true, clusterBytes: 131_072 },
  ] as const;
  it.for(kinds)("%o", async (wanted, context) => {
    requires(context, hasQemuImg, "qemu-img is not installed");
    const size = 9 * mib + 512;
    const parts = [
      { offset: 0, bytes: noise(4096, 1) },
      { offset: 3 * mib - 4096, bytes: noise(200_704, 2) },
      { offset: 9 * mib, bytes: noise(512, 3) },
    ];
    const path = at("kind.qcow2");
    await writeDisk(path, wanted, size, parts);
    qemuImg("check", "-q", path);
    expect(JSON.parse(qemuImg("info", "--output=json", path))).toMatchObject({
      "virtual-size": size,
      "cluster-size": "clusterBytes" in wanted ? wanted.clusterBytes : 65_536,
      "format-specific": {
        data: {
          compat: "compat" in wanted ? wanted.compat : "1.1",
          ...("lazyRefcounts" in wanted ? { "lazy-refcounts": true } : {}),
          ...("extendedL2" in wanted ? { "extended-l2": true } : {}),
          ...("compression" in wanted ? { "compression-type": "zstd" } : {}),
        },
      },
    });
    const raw = at("kind.raw");
    const fd = openSync(raw, "w");
    writeSync(fd, Buffer.alloc(1), 0, 1, size - 1);
    for (const { offset, bytes } of parts) writeSync(fd, bytes, 0, bytes.length, offset);
    closeSync(fd);
    qemuImg("compare", "-q", "-f", "raw", "-F", "qcow2", raw, path);
  });

  const sizes = [0, 1, 511, 513, 65_536, 65_537, 16 * 2 ** 40, 2 ** 53 - 4096];
  it.for(sizes)("of a disk of %i bytes that is one hole", async (size, context) => {
    requires(context, hasQemuImg, "qemu-img is not installed");
    const path = at("hole.qcow2");
    const fileBytes = await writeDisk(path, {}, size, []);
    qemuImg("check", "-q", path);
    const info = JSON.parse(qemuImg("info", "--output=json", path)) as object;
    expect(info).toMatchObject({ "virtual-size": Math.ceil(size / 512) * 512 });
    expect(info).toHaveProperty("actual-size");
    expect(fileBytes).toBeLessThan(40 * mib);
  });

  it("has larger clusters where small ones cannot hold the disk", async (context) => {
    requires(context, hasQemuImg, "qemu-img is not installed");
    const path = at("large.qcow2");
    const end = { offset: 2 ** 40 - 512, bytes: noise(512, 9) };
    await writeDisk(path, { clusterBytes: 512 }, 2 ** 40, [end]);
    qemuImg("check", "-q", path);
    expect(JSON.parse(qemuImg("info", "--output=json", path))).toMatchObject({
      "virtual-size": 2 ** 40,
      "cluster-size": 2048,
    });
  });

  it("reads equal by our own reader", async () => {
    const part = fc.record({
      offset: fc.nat(3 * mib),
      bytes: fc.tuple(fc.integer({ min: 1, max: 90_000 }), fc.nat(200)),
    });
    const kind = fc.record({
      clusterBytes: fc.constantFrom(512, 1024, 16_384, 65_536, 2 ** 21),
      compat: fc.constantFrom("0.10" as const, "1.1" as const),
      compression: fc.constantFrom("deflate" as const, "zstd" as const),
      lazyRefcounts: fc.boolean(),
      extendedL2: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(kind, fc.nat(4 * mib), fc.array(part, { maxLength: 8 }), async (k, n, p) => {
        const expected = Buffer.alloc(Math.ceil(n / 512) * 512);
        const parts = p.flatMap(({ offset, bytes: [length, seed] }) => {
          const bytes = noise(Math.min(length, n - offset), seed);
          return n > offset ? [{ offset, bytes }] : [];
        });
        for (const { offset, bytes } of parts) expected.set(bytes, offset);
        await writeDisk(at("fuzz.qcow2"), k, n, parts);
        using source = openQcow2(at("fuzz.qcow2"));
        expect((await contentOf(source, 4 * mib)).bytes.equals(expected)).toBe(true);
      }),
      { numRuns: process.env["SLOW"] === undefined ? 40 : 1000 },
    );
  });
});

it("a set of clusters counts and lists what is in it", () => {
  const ranges = fc.array(fc.tuple(fc.nat(20_000), fc.integer({ min: 1, max: 9000 })));
  fc.assert(
    fc.property(ranges, (added) => {
      const set = new ClusterSet(1);
      const model = new Set<number>();
      for (const [offset, length] of added) {
        set.add(offset, length);
        for (let n = offset; n < offset + length; n++) model.add(n);
      }
      const all = [...model].sort((a, b) => a - b);
      const listed = [...set.runs()].flatMap(({ first, count }) =>
        Array.from({ length: count }, (_, n) => first + n),
      );
      expect(listed).toEqual(all);
      expect(set.count).toBe(all.length);
      for (let n = 0; n < all.length; n += 97) expect(set.rank(all[n]!)).toBe(n);
      expect(set.rank(40_000)).toBeUndefined();
    }),
    { numRuns: 20 },
  );
});

it("of a hole only what shares a cluster with data lies in the file", () => {
  const clusters = new ClusterSet(65_536);
  clusters.add(4096, 4096);
  clusters.add(3 * 65_536, 512);
  const layout = layOut(defaultKind, 10 * 65_536, clusters);
  const { dataOffset } = layout;
  expect(holePieces(layout, 8192, 3 * 65_536 - 8192)).toEqual([
    { offset: dataOffset + 8192, length: 65_536 - 8192 },
  ]);
  expect(holePieces(layout, 0, 4096)).toEqual([{ offset: dataOffset, length: 4096 }]);
  expect(holePieces(layout, 3 * 65_536 + 512, 512)).toEqual([
    { offset: dataOffset + 65_536 + 512, length: 512 },
  ]);
  expect(holePieces(layout, 4 * 65_536, 6 * 65_536)).toEqual([]);
});
