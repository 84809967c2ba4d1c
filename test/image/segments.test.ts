import {
  closeSync,
  fstatSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  rmSync,
  writeSync,
} from "node:fs";
import { execFileSync } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { imageSegments } from "../../src/image/segments.ts";
import type { ImageSegment } from "../../src/image/segments.ts";
import { seekData, seekHole } from "../../src/posix/index.ts";
import { withLoopDevice } from "../support/loop-device.ts";

const kib = 1 << 10;
const mib = 1 << 20;
const segmentBytes = 4 * mib;
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "ashlar-segments-"));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

interface Piece {
  readonly offset: number;
  readonly length: number;
}

function sparse(size: number, data: readonly Piece[], where = folder): number {
  const path = join(where, "image");
  const fd = openSync(path, "w+");
  rmSync(path);
  ftruncateSync(fd, size);
  for (const { offset, length } of data) writeSync(fd, Buffer.alloc(length, 1), 0, length, offset);
  return fd;
}

function segmentsOf(fd: number, size = fstatSync(fd).size): ImageSegment[] {
  return [...imageSegments(fd, size, segmentBytes, () => fstatSync(fd).size)];
}

function extentsOf(segment: ImageSegment): Piece[] {
  if (segment.state === "hole") return [];
  if (segment.extents === undefined) return [{ offset: segment.offset, length: segment.length }];
  const pairs = [...segment.extents];
  return pairs.flatMap((start, index) =>
    index % 2 === 0 ? [{ offset: segment.offset + start, length: pairs[index + 1]! }] : [],
  );
}

describe("segments of an image", () => {
  it("without bytes are none", () => {
    const fd = sparse(0, []);
    expect(segmentsOf(fd)).toEqual([]);
    closeSync(fd);
  });

  it("without data are one hole, whatever the end", () => {
    for (const size of [1, 4095, segmentBytes, segmentBytes + 1, 10 * segmentBytes + 513]) {
      const fd = sparse(size, []);
      expect(segmentsOf(fd)).toEqual([{ offset: 0, length: size, state: "hole" }]);
      closeSync(fd);
    }
  });

  it("are data to the odd end of a file without holes", () => {
    const size = segmentBytes + 12_345;
    const fd = sparse(size, [{ offset: 0, length: size }]);
    expect(segmentsOf(fd)).toEqual([
      { offset: 0, length: segmentBytes, state: "data" },
      { offset: segmentBytes, length: 12_345, state: "data" },
    ]);
    closeSync(fd);
  });

  it("say what of them is data, in whole blocks and from their own start", () => {
    const fd = sparse(4 * segmentBytes, [
      { offset: segmentBytes + mib, length: 5000 },
      { offset: segmentBytes + 3 * mib, length: 4096 },
    ]);
    expect(segmentsOf(fd)).toEqual([
      { offset: 0, length: segmentBytes, state: "hole" },
      {
        offset: segmentBytes,
        length: segmentBytes,
        state: "data",
        extents: Float64Array.of(mib, 8192, 3 * mib, 4096),
      },
      { offset: 2 * segmentBytes, length: 2 * segmentBytes, state: "hole" },
    ]);
    closeSync(fd);
  });

  it("are read through holes too short to be worth it", () => {
    const fd = sparse(segmentBytes, [
      { offset: 0, length: 4096 },
      { offset: 60 * kib, length: 4096 },
      { offset: 192 * kib, length: 4096 },
    ]);
    expect(segmentsOf(fd)[0]?.extents).toEqual(Float64Array.of(0, 64 * kib, 192 * kib, 4096));
    closeSync(fd);
  });

  it("have edges at whole blocks where the file system has smaller ones", async (context) => {
    await withLoopDevice(context, 8 * mib, (device) => {
      execFileSync("/usr/sbin/mkfs.ext4", ["-q", "-b", "1024", device]);
      const mountPoint = mkdtempSync(join(folder, "small-blocks-"));
      execFileSync("mount", [device, mountPoint]);
      let fd: number | undefined;
      try {
        fd = sparse(2 * segmentBytes + 1024, [{ offset: mib + 1024, length: 1024 }], mountPoint);
        expect(seekData(fd, 0)).toBe(mib + 1024);
        expect(segmentsOf(fd)[0]?.extents).toEqual(Float64Array.of(mib, 4096));
        writeSync(fd, "x", 2 * segmentBytes + 1023);
        const last = { offset: 2 * segmentBytes, length: 1024, state: "data" };
        expect(segmentsOf(fd).at(-1)).toEqual(last);
      } finally {
        if (fd !== undefined) closeSync(fd);
        execFileSync("umount", [mountPoint]);
      }
    });
  });

  it("of 15 TiB with three blocks of data are few", () => {
    const size = 15 * 2 ** 40;
    const data = [2 ** 33, 7 * 2 ** 40, size - 4096].map((offset) => ({ offset, length: 4096 }));
    const fd = sparse(size, data);
    const found = segmentsOf(fd);
    expect(found.map(({ state }) => state)).toEqual([
      "hole",
      "data",
      "hole",
      "data",
      "hole",
      "data",
    ]);
    expect(found.flatMap(extentsOf)).toEqual(data);
    closeSync(fd);
  });

  it("of 16 TiB of nothing on tmpfs are one", () => {
    const fd = sparse(16 * 2 ** 40, [], "/dev/shm");
    expect(segmentsOf(fd)).toEqual([{ offset: 0, length: 16 * 2 ** 40, state: "hole" }]);
    closeSync(fd);
  });

  it("that were cut off after the opening are given out as data, which its reader will miss", () => {
    const fd = sparse(40 * segmentBytes, [{ offset: segmentBytes, length: 4096 }]);
    ftruncateSync(fd, 10 * segmentBytes + 5);
    const found = segmentsOf(fd, 40 * segmentBytes);
    expect(found.slice(0, 3).map(({ offset, state }) => [offset / segmentBytes, state])).toEqual([
      [0, "hole"],
      [1, "data"],
      [2, "hole"],
    ]);
    expect(found[3]).toMatchObject({ offset: 10 * segmentBytes, state: "data" });
    expect(found).toHaveLength(33);
    closeSync(fd);
  });

  it("cover the image once, hold all of its data, and no long hole", () => {
    const block = 4096;
    const piece = fc.record({
      at: fc.integer({ min: 0, max: 5000 }),
      count: fc.integer({ min: 1, max: 80 }),
    });
    const image = fc.record({
      size: fc.integer({ min: 1, max: 5 * segmentBytes }),
      pieces: fc.array(piece, { maxLength: 12 }),
    });
    fc.assert(
      fc.property(image, ({ size, pieces }) => {
        const data = pieces
          .map(({ at, count }) => ({ offset: at * block, length: count * block }))
          .filter(({ offset, length }) => offset + length <= size);
        const fd = sparse(size, data);
        const found = segmentsOf(fd);
        let at = 0;
        for (const segment of found) {
          expect(segment.offset).toBe(at);
          expect(at % segmentBytes).toBe(0);
          at += segment.length;
          if (segment.state === "data") expect(segment.length).toBeLessThanOrEqual(segmentBytes);
        }
        expect(at).toBe(size);
        expectSame(found.flatMap(extentsOf), fd, size);
        closeSync(fd);
      }),
      { numRuns: 60 },
    );
  });
});

/** Block by block: what the system calls data is in an extent; a run of 16 blocks in none is hole, and back. */
function expectSame(extents: readonly Piece[], fd: number, size: number): void {
  const blocks = Math.ceil(size / 4096);
  const isRead = new Uint8Array(blocks);
  for (const { offset, length } of extents) {
    expect(offset % 4096).toBe(0);
    expect((offset + length) % 4096 === 0 || offset + length === size).toBe(true);
    isRead.fill(1, offset / 4096, Math.ceil((offset + length) / 4096));
  }
  const isData = new Uint8Array(blocks);
  for (let at = seekData(fd, 0); at !== undefined;) {
    const end = seekHole(fd, at)!;
    isData.fill(1, Math.floor(at / 4096), Math.ceil(end / 4096));
    at = seekData(fd, end);
  }
  let hole = 0;
  for (let block = 0; block <= blocks; block++) {
    if (block < blocks && isData[block] === 0) {
      hole++;
      continue;
    }
    const isLong = hole >= 16 || block === blocks || hole === block;
    if (isLong) expect(isRead.subarray(block - hole, block).includes(1)).toBe(false);
    if (block < blocks) expect(isRead[block]).toBe(1);
    hole = 0;
  }
}
