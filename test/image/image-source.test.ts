import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  mkdtempSync,
  readSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { openImageSource } from "../../src/image/index.ts";
import { lstatNs } from "../../src/posix/index.ts";
import { withLoopDevice } from "../support/loop-device.ts";

const mib = 1 << 20;
let folder: string;
let path: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "ashlar-source-"));
  path = join(folder, "disk \udce9");
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const write = (length: number): void => {
  writeFileSync(
    Buffer.concat([Buffer.from(`${folder}/disk `), Buffer.of(0xe9)]),
    Buffer.alloc(length, 1),
  );
};

describe("an image source", () => {
  it("has the file's size and identity, whatever bytes its name has", () => {
    write(12_345);
    using source = openImageSource(path);
    const { size, mtimeNs, ctimeNs, inode, deviceId } = lstatNs(path)!;
    expect(source).toMatchObject({ kind: "file", size: 12_345, path });
    expect(source.identity).toEqual({ size, mtimeNs, ctimeNs, inode, deviceId });
    expect([...source.segments(mib)]).toEqual([{ offset: 0, length: 12_345, state: "data" }]);
    expect(source.changedSince()).toBeUndefined();
  });

  it("of 0 bytes has no segments", () => {
    write(0);
    using source = openImageSource(path);
    expect([...source.segments(mib)]).toEqual([]);
  });

  it("notices that it grew, shrank, or was written to", () => {
    const file = join(folder, "plain");
    const changes = [
      () => {
        appendFileSync(file, "x");
      },
      () => {
        truncateSync(file, 4000);
      },
      () => {
        utimesSync(file, 1, 1);
      },
    ];
    for (const change of changes) {
      writeFileSync(file, Buffer.alloc(8192, 1));
      using source = openImageSource(file);
      expect(source.changedSince()).toBeUndefined();
      change();
      expect(source.changedSince()).toMatch(/changed/);
    }
  });

  it("that shrank gives out as data what is missing", () => {
    const file = join(folder, "shrinking");
    writeFileSync(file, Buffer.alloc(4 * mib, 1));
    using source = openImageSource(file);
    truncateSync(file, mib);
    expect([...source.segments(mib)].map(({ state }) => state)).toEqual([
      "data",
      "data",
      "data",
      "data",
    ]);
  });

  it("leaves the access time as it was", () => {
    const file = join(folder, "quiet");
    writeFileSync(file, "text");
    utimesSync(file, 1, 1);
    using source = openImageSource(file);
    expect(readSync(source.fd, Buffer.alloc(4), 0, 4, 0)).toBe(4);
    expect(lstatNs(file)).toMatchObject({ atimeNs: 1_000_000_000n });
  });

  it("is neither folder nor fifo, and does not wait for one", () => {
    execFileSync("mkfifo", [join(folder, "fifo")]);
    for (const name of ["fifo", "."]) {
      expect(() => openImageSource(join(folder, name))).toThrow(/neither file nor block device/);
    }
    expect(() => openImageSource(join(folder, "none"))).toThrow(/ENOENT/);
  });

  it("on a block device has the device's size, by a symlink too", async (context) => {
    await withLoopDevice(context, 5 * mib + 1536, (device) => {
      symlinkSync(device, join(folder, "by-id"));
      using source = openImageSource(join(folder, "by-id"));
      expect(source).toMatchObject({ kind: "block", size: 5 * mib + 1536 });
      const lengths = [...source.segments(4 * mib)].map(({ length, state }) => [length, state]);
      expect(lengths).toEqual([
        [4 * mib, "data"],
        [mib + 1536, "data"],
      ]);
      expect(source.changedSince()).toBeUndefined();
    });
  });
});
