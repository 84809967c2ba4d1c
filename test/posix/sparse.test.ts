import { execFileSync } from "node:child_process";
import {
  closeSync,
  fstatSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import {
  blockDeviceSize,
  fadvise,
  punchHole,
  seekData,
  seekHole,
  zeroRange,
} from "../../src/posix/index.ts";
import { withLoopDevice } from "../support/loop-device.ts";

const mib = 1 << 20;
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "ashlar-sparse-"));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

function sparseFile(name: string, sizeBytes: number, dataAt: readonly number[]): number {
  const fd = openSync(join(folder, name), "w+");
  ftruncateSync(fd, sizeBytes);
  for (const offset of dataAt) writeSync(fd, Buffer.alloc(4096, 1), 0, 4096, offset);
  return fd;
}

describe("holes of files", () => {
  it("are found on both sides of the data", () => {
    const fd = sparseFile("sides", 8 * mib, [4 * mib]);
    expect(seekData(fd, 0)).toBe(4 * mib);
    expect(seekHole(fd, 4 * mib)).toBe(4 * mib + 4096);
    expect(seekHole(fd, 0)).toBe(0);
    expect(seekData(fd, 4 * mib + 4096)).toBeUndefined();
    closeSync(fd);
  });

  it("end with the file", () => {
    const fd = sparseFile("end", 10_000, [0]);
    writeSync(fd, Buffer.alloc(10_000, 1), 0, 10_000, 0);
    expect(seekHole(fd, 0)).toBe(10_000);
    expect(seekData(fd, 10_000)).toBeUndefined();
    expect(seekHole(fd, 10_000)).toBeUndefined();
    closeSync(fd);
  });

  it("are found far beyond 4 GiB", () => {
    const offset = 5 * 2 ** 40;
    const fd = sparseFile("far", 6 * 2 ** 40, [offset]);
    expect(seekData(fd, 2 ** 33 + 1)).toBe(offset);
    closeSync(fd);
  });

  it("are made where there was data, and the size stays", () => {
    const fd = sparseFile("punched", 3 * mib, []);
    writeSync(fd, Buffer.alloc(3 * mib, 7), 0, 3 * mib, 0);
    const before = fstatSync(fd).blocks;
    expect(punchHole(fd, mib, mib)).toBe(true);
    expect(fstatSync(fd).size).toBe(3 * mib);
    expect(fstatSync(fd).blocks).toBeLessThan(before);
    expect(seekHole(fd, 0)).toBe(mib);
    expect(seekData(fd, mib)).toBe(2 * mib);
    const read = Buffer.alloc(4, 9);
    readSync(fd, read, 0, 4, mib - 2);
    expect([...read]).toEqual([7, 7, 0, 0]);
    closeSync(fd);
  });

  it("cannot be made where nobody may write", () => {
    closeSync(sparseFile("read-only", mib, [0]));
    const fd = openSync(join(folder, "read-only"), "r");
    expect(() => punchHole(fd, 0, 4096)).toThrow(expect.objectContaining({ code: "EBADF" }));
    closeSync(fd);
  });

  it("are no question for a pipe", () => {
    const fd = openSync("/dev/null", "r");
    fadvise(fd, 0, 0, "sequential");
    expect(() => blockDeviceSize(fd)).toThrow(expect.objectContaining({ code: "ENOTTY" }));
    closeSync(fd);
    expect(() => seekData(fd, 0)).toThrow(expect.objectContaining({ code: "EBADF" }));
  });
});

it("a block device says its size, is all data, and can be made zero", async (context) => {
  await withLoopDevice(context, 3 * mib + 512 * 3, (path) => {
    const fd = openSync(path, "r+");
    expect(blockDeviceSize(fd)).toBe(3 * mib + 512 * 3);
    expect(seekData(fd, 4096)).toBe(4096);
    expect(seekHole(fd, 4096)).toBe(3 * mib + 512 * 3);
    expect(seekData(fd, 4 * mib)).toBeUndefined();
    writeSync(fd, Buffer.alloc(mib, 5), 0, mib, 0);
    expect(zeroRange(fd, 4096, 8192)).toBe(true);
    expect(punchHole(fd, 65536, 65536)).toBe(true);
    const read = Buffer.alloc(mib);
    readSync(fd, read, 0, mib, 0);
    expect(read.subarray(4096, 12288).equals(Buffer.alloc(8192))).toBe(true);
    expect(read.subarray(65536, 131072).equals(Buffer.alloc(65536))).toBe(true);
    expect(read[4095]).toBe(5);
    expect(read[12288]).toBe(5);
    closeSync(fd);
    execFileSync("blockdev", ["--flushbufs", path]);
  });
});
