import { execFileSync, spawnSync } from "node:child_process";
import {
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { TestContext } from "vitest";

import { openImageTarget, openReplacingTarget } from "../../src/image/index.ts";
import type { ImageTarget } from "../../src/image/index.ts";
import { lockFile, seekData } from "../../src/posix/index.ts";
import { withLoopDevice } from "../support/loop-device.ts";

const mib = 1 << 20;
let folder: string;
let path: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "ashlar-target-"));
  path = join(folder, "disk");
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

function put(target: ImageTarget, offset: number, length: number): void {
  writeSync(target.fd, Buffer.alloc(length, 7), 0, length, offset);
}

describe("a new image file", () => {
  it("appears under its name when it is whole, for its owner only, holes and all", async () => {
    using target = openImageTarget(path, { size: 100 * mib + 5, overwrite: false });
    expect(target).toMatchObject({ isNew: true, kind: "file" });
    expect(existsSync(path)).toBe(false);
    put(target, 50 * mib, 4096);
    await target.zeroRange(0, 50 * mib);
    target.finish({ fsync: true });
    expect(readdirSync(folder)).toEqual(["disk"]);
    expect(statSync(path)).toMatchObject({ size: 100 * mib + 5, mode: 0o100600 });
    expect(seekData(target.fd, 0)).toBe(50 * mib);
    expect(statSync(path).blocks).toBeLessThan(100);
  });

  it("may have 0 bytes, or any odd number", () => {
    for (const size of [0, 1, 511, 4097]) {
      using target = openImageTarget(`${path}${size}`, { size, overwrite: false });
      target.finish({ fsync: false });
      expect(statSync(`${path}${size}`).size).toBe(size);
    }
  });

  it("loses what was written past its end", () => {
    using target = openImageTarget(path, { size: 5000, overwrite: false });
    put(target, 4096, 4096);
    target.finish({ fsync: false });
    expect(statSync(path).size).toBe(5000);
  });

  it("is taken up again after a restore that did not finish, and is then not new", async () => {
    const first = openImageTarget(path, { size: 8 * mib, overwrite: false });
    put(first, 0, mib);
    first.close();
    using second = openImageTarget(path, { size: 8 * mib, overwrite: false });
    expect(second.isNew).toBe(false);
    await second.zeroRange(0, 8 * mib);
    second.finish({ fsync: false });
    expect(readFileSync(path).equals(Buffer.alloc(8 * mib))).toBe(true);
    expect(readdirSync(folder)).toEqual(["disk"]);
  });

  it("is not written through what others put in the partial file's place", () => {
    writeFileSync(join(folder, "victim"), "kept");
    symlinkSync(join(folder, "victim"), `${path}.ashlar-partial`);
    expect(() => openImageTarget(path, { size: 1, overwrite: true })).toThrow(/ELOOP/);
    rmSync(`${path}.ashlar-partial`);
    writeFileSync(`${path}.ashlar-partial`, "", { mode: 0o666 });
    expect(() => openImageTarget(path, { size: 1, overwrite: true })).toThrow(/not a file left by/);
    expect(readFileSync(join(folder, "victim"), "utf8")).toBe("kept");
  });

  it("is not put over a file that came meanwhile", () => {
    using target = openImageTarget(path, { size: 1, overwrite: false });
    writeFileSync(path, "theirs");
    expect(() => {
      target.finish({ fsync: false });
    }).toThrow(/appeared meanwhile/);
    expect(readFileSync(path, "utf8")).toBe("theirs");
  });

  it("is restored by one program at a time", () => {
    using first = openImageTarget(path, { size: 1, overwrite: false });
    expect(first.isNew).toBe(true);
    expect(() => openImageTarget(path, { size: 1, overwrite: false })).toThrow(/locked/);
  });

  it("needs a folder", () => {
    const absent = join(folder, "none", "disk");
    expect(() => openImageTarget(absent, { size: 1, overwrite: false })).toThrow(
      /^Cannot restore to .*none\/disk: ENOENT/,
    );
  });
});

describe("an existing file", () => {
  it("is overwritten only when that is allowed, and never when it is no file", () => {
    writeFileSync(path, "kept");
    expect(() => openImageTarget(path, { size: 1, overwrite: false })).toThrow(/it exists/);
    expect(readFileSync(path, "utf8")).toBe("kept");
    mkdirSync(join(folder, "dir"));
    for (const name of [join(folder, "dir"), "/dev/null"]) {
      expect(() => openImageTarget(name, { size: 1, overwrite: true })).toThrow(
        /neither file nor block/,
      );
    }
  });

  it("stays the same file, gets the image's size, and its holes back", async () => {
    writeFileSync(path, Buffer.alloc(6 * mib, 7), { mode: 0o640 });
    const before = statSync(path);
    using target = openImageTarget(path, { size: 5 * mib, overwrite: true });
    expect(target.isNew).toBe(false);
    await target.zeroRange(mib, 3 * mib);
    target.finish({ fsync: true });
    expect(statSync(path)).toMatchObject({ ino: before.ino, mode: before.mode, size: 5 * mib });
    expect(seekData(target.fd, mib)).toBe(4 * mib);
    expect(statSync(path).blocks * 512).toBeLessThan(3 * mib);
  });

  it("that grew reads as zeros behind its old end", () => {
    writeFileSync(path, Buffer.alloc(1000, 7));
    using target = openImageTarget(path, { size: 9000, overwrite: true });
    target.finish({ fsync: false });
    expect(readFileSync(path).subarray(1000).equals(Buffer.alloc(8000))).toBe(true);
  });

  it("that a virtual machine or another restore has locked is left alone", () => {
    writeFileSync(path, "kept");
    const other = openSync(path, "r+");
    expect(lockFile(other)).toBe(true);
    expect(() => openImageTarget(path, { size: 1, overwrite: true })).toThrow(/locked/);
    closeSync(other);
    expect(readFileSync(path, "utf8")).toBe("kept");
    openImageTarget(path, { size: 1, overwrite: true }).close();
  });

  it("is one that QEMU refuses to write while it is restored", (context) => {
    writeFileSync(path, Buffer.alloc(mib));
    const write = ["-f", "raw", "-c", "write 0 512", path];
    if (spawnSync("qemu-io", ["--version"]).error !== undefined) context.skip("no qemu-io");
    const target = openImageTarget(path, { size: mib, overwrite: true });
    expect(spawnSync("qemu-io", write, { encoding: "utf8" }).stderr).toMatch(/Failed to lock/);
    target.close();
    expect(spawnSync("qemu-io", write).status).toBe(0);
  });

  it("has zeros just where they were asked for, whatever the edges", async () => {
    const size = 300_000;
    const range = fc.record({ offset: fc.nat(size), length: fc.nat(100_000) });
    await fc.assert(
      fc.asyncProperty(fc.array(range, { maxLength: 5 }), async (ranges) => {
        const expected = Buffer.alloc(size, 7);
        writeFileSync(path, expected);
        using target = openImageTarget(path, { size, overwrite: true });
        for (const { offset, length } of ranges) {
          expected.fill(0, offset, Math.min(offset + length, size));
          await target.zeroRange(offset, length);
        }
        target.finish({ fsync: false });
        expect(readFileSync(path).equals(expected)).toBe(true);
      }),
      { numRuns: 30 },
    );
  });

  it("of 16 TiB with little data is made zero at once", async () => {
    const far = join("/dev/shm", `ashlar-target-${process.pid}`);
    writeFileSync(far, "x");
    try {
      using target = openImageTarget(far, { size: 16 * 2 ** 40, overwrite: true });
      put(target, 15 * 2 ** 40, 4096);
      await target.zeroRange(0, 16 * 2 ** 40);
      expect(seekData(target.fd, 0)).toBeUndefined();
      expect(fstatSync(target.fd).blocks).toBe(0);
    } finally {
      rmSync(far);
    }
  });
});

describe("a block device", () => {
  it("is written, made zero at any edges, and keeps what lies behind the image", async (context) => {
    await withLoopDevice(context, 4 * mib, async (device) => {
      writeFileSync(device, Buffer.alloc(4 * mib, 9), { flag: "r+" });
      using target = openImageTarget(device, { size: 3 * mib + 100, overwrite: true });
      expect(target).toMatchObject({ kind: "block", isNew: false });
      put(target, 0, 4096);
      await target.zeroRange(4000, mib);
      await target.zeroRange(3 * mib - 50, 4096);
      await target.zeroRange(2 * mib + 1, 3);
      target.finish({ fsync: true });
      const expected = Buffer.alloc(4 * mib, 9);
      expected
        .fill(7, 0, 4000)
        .fill(0, 4000, 4000 + mib)
        .fill(0, 3 * mib - 50, 3 * mib + 100);
      expected.fill(0, 2 * mib + 1, 2 * mib + 4);
      const read = Buffer.alloc(4 * mib);
      readSync(target.fd, read, 0, read.length, 0);
      expect(read.equals(expected)).toBe(true);
    });
  });

  it("is overwritten only when that is allowed, and when it is large enough", async (context) => {
    await withLoopDevice(context, mib, (device) => {
      expect(() => openImageTarget(device, { size: 1, overwrite: false })).toThrow(
        /it is a block device/,
      );
      expect(() => openImageTarget(device, { size: mib + 1, overwrite: true })).toThrow(
        /it has 1048576 bytes, the image 1048577/,
      );
      openImageTarget(device, { size: mib, overwrite: true }).close();
    });
  });

  it("is claimed while it is restored", async (context) => {
    await withLoopDevice(context, mib, (device) => {
      using target = openImageTarget(device, { size: 1, overwrite: true });
      expect(target.kind).toBe("block");
      expect(() => openImageTarget(device, { size: 1, overwrite: true })).toThrow(/it is in use/);
    });
  });

  it("keeps its file from being written behind its back", async (context) => {
    await withLoopDevice(context, mib, (device) => {
      const answer = execFileSync("losetup", ["-n", "-O", "BACK-FILE", device], {
        encoding: "utf8",
      });
      symlinkSync(answer.trim(), path);
      for (const open of [openImageTarget, openReplacingTarget]) {
        expect(() => open(path, { size: 1, overwrite: true })).toThrow(
          `Cannot restore to ${path}: ${device} is made of it`,
        );
      }
    });
  });

  it("that is mounted is named with its mount point", async (context) => {
    await withLoopDevice(context, 4 * mib, (device) => {
      run(context, "mkfs.ext4", ["-q", device]);
      const mountPoint = join(folder, "mount point");
      mkdirSync(mountPoint);
      run(context, "mount", [device, mountPoint]);
      try {
        expect(() => openImageTarget(device, { size: 1, overwrite: true })).toThrow(
          `Cannot restore to ${device}: it is mounted at ${mountPoint}`,
        );
      } finally {
        execFileSync("umount", [mountPoint]);
      }
    });
  });

  it("that is swapped to is left alone", async (context) => {
    await withLoopDevice(context, 4 * mib, (device) => {
      run(context, "mkswap", [device]);
      run(context, "swapon", [device]);
      try {
        expect(() => openImageTarget(device, { size: 1, overwrite: true })).toThrow(
          /it is used as swap/,
        );
      } finally {
        run(context, "swapoff", [device]);
      }
    });
  });

  it("that a volume manager holds is left alone", async (context) => {
    await withLoopDevice(context, 4 * mib, (device) => {
      // Not every kernel has a device mapper: no failure, in CI neither.
      if (!hasDeviceMapper()) context.skip("no device mapper");
      const name = `ashlar-test-${process.pid}`;
      run(context, "dmsetup", [
        "create",
        name,
        "--noudevsync",
        "--table",
        `0 8 linear ${device} 0`,
      ]);
      try {
        expect(() => openImageTarget(device, { size: 1, overwrite: true })).toThrow(
          /it is part of dm-\d+/,
        );
      } finally {
        run(context, "dmsetup", ["remove", "--noudevsync", name]);
      }
    });
  });

  it("with a partition that is mounted is left alone", async (context) => {
    await withLoopDevice(context, 16 * mib, (device) => {
      run(context, "sfdisk", ["-q", "--no-reread", device], "label: dos\nstart=2048, size=20480\n");
      run(context, "partx", ["--add", device]);
      const partition = `${device}p1`;
      const mountPoint = join(folder, "mounted");
      mkdirSync(mountPoint);
      try {
        run(context, "mkfs.ext4", ["-q", partition]);
        run(context, "mount", [partition, mountPoint]);
        try {
          expect(() => openImageTarget(device, { size: 1, overwrite: true })).toThrow(
            `its partition ${partition.slice(5)} is mounted at ${mountPoint}`,
          );
        } finally {
          execFileSync("umount", [mountPoint]);
        }
      } finally {
        run(context, "partx", ["--delete", device]);
      }
    });
  });
});

function hasDeviceMapper(): boolean {
  try {
    closeSync(openSync("/dev/mapper/control", "r+"));
    return true;
  } catch (error) {
    console.warn(String(error));
    return false;
  }
}

/** A tool this system may lack, or not permit: then the test is skipped and says so; with CI set, it fails. */
function run(context: TestContext, tool: string, options: readonly string[], input = ""): void {
  const PATH = `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin`;
  try {
    execFileSync(tool, options, { env: { ...process.env, PATH }, input, stdio: "pipe" });
  } catch (error) {
    if (process.env["CI"] !== undefined) throw error;
    console.warn(String(error));
    context.skip(String(error));
  }
}
