import {
  closeSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { execFileSync } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { classifyImage } from "../../src/image/index.ts";
import { imageMagics } from "../../src/image/magics.ts";
import { lstatNs } from "../../src/posix/index.ts";
import { withLoopDevice } from "../support/loop-device.ts";

const mib = 1 << 20;
let folder: string;
let path: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "ashlar-classify-"));
  path = join(folder, "file");
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

function classify(at = path): { image: boolean; reason: string } {
  const fd = openSync(at, "r");
  try {
    return classifyImage(fd, lstatNs(at)!);
  } finally {
    closeSync(fd);
  }
}

function make(
  size: number,
  parts: readonly (readonly [number, Uint8Array])[] = [],
  fill = 0x20,
): void {
  writeFileSync(path, Buffer.alloc(size, fill));
  const fd = openSync(path, "r+");
  for (const [offset, bytes] of parts)
    writeSync(fd, bytes, 0, bytes.length, offset < 0 ? size + offset : offset);
  closeSync(fd);
}

const hasTool = (tool: string): boolean => {
  try {
    execFileSync("sh", ["-c", `PATH=$PATH:/usr/sbin:/sbin command -v ${tool}`]);
    return true;
  } catch {
    return false;
  }
};
const environment = { ...process.env, PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin` };

describe("classifyImage()", () => {
  it.each(
    imageMagics
      .filter((magic) => magic.holds === undefined)
      .map((magic) => [magic.name, magic] as const),
  )("knows a %s by its magic", (name, magic) => {
    make(2 * mib, [[magic.offset, magic.bytes]]);
    expect(classify()).toEqual({ image: true, reason: name });
  });

  it.runIf(hasTool("mkfs.ext4")).each([
    ["mkfs.ext4", ["-q"], 4, "ext2/3/4 file system"],
    ["mkfs.xfs", ["-q"], 320, "XFS file system"],
    ["mkswap", [], 4, "Linux swap space"],
    ["mkfs.vfat", [], 4, "FAT file system"],
  ] as const)("knows what %s makes", (tool, options, sizeMib, name) => {
    if (!hasTool(tool)) return;
    make(0);
    execFileSync("truncate", ["-s", `${sizeMib}M`, path]);
    execFileSync(tool, [...options, path], { env: environment, stdio: "pipe" });
    expect(classify()).toEqual({ image: true, reason: name });
  });

  it.runIf(hasTool("sfdisk")).each([
    ["dos", "MBR partition table"],
    ["gpt", "GPT partition table"],
  ])("knows sfdisk's table of type %s", (label, name) => {
    make(4 * mib, [], 0);
    execFileSync("sfdisk", ["-q", path], {
      env: environment,
      input: `label: ${label}\n,2MiB\n`,
      stdio: "pipe",
    });
    expect(classify()).toEqual({ image: true, reason: name });
  });

  it.runIf(hasTool("qemu-img")).each([
    ["qcow2", "qcow2 disk"],
    ["vmdk", "VMDK disk"],
    ["vdi", "VDI disk"],
    ["vhdx", "VHDX disk"],
    ["vpc", "VHD disk"],
  ])("knows qemu-img's %s", (format, name) => {
    const options = format === "vpc" ? ["-o", "subformat=fixed"] : [];
    execFileSync("qemu-img", ["create", "-q", "-f", format, ...options, path, "64M"]);
    // Empty disks of some formats are less than 1 MiB.
    if (lstatNs(path)!.size < mib && name !== "VHD disk")
      execFileSync("truncate", ["-s", "2M", path]);
    expect(classify()).toEqual({ image: true, reason: name });
  });

  it("takes no small file for an image, whatever it begins with", () => {
    make(mib - 1, [[0, Buffer.from("QFI\xfb", "latin1")]]);
    expect(classify()).toEqual({ image: false, reason: "smaller than 1 MiB" });
    make(0);
    expect(classify().image).toBe(false);
  });

  it("takes a boot signature alone, or over nonsense, for no partition table", () => {
    make(2 * mib, [[510, Buffer.of(0x55, 0xaa)]]);
    expect(classify().image).toBe(false);
    make(2 * mib, [[510, Buffer.of(0x55, 0xaa)]], 0);
    expect(classify().image).toBe(false);
  });

  it("leaves an ISO to the other cutter, hybrid or not", () => {
    const entry = Buffer.alloc(66);
    entry.set([0x80, 0, 0, 0, 0x83, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0]);
    entry.set([0x55, 0xaa], 64);
    make(2 * mib, [[446, entry]], 0);
    expect(classify()).toEqual({ image: true, reason: "MBR partition table" });
    make(
      2 * mib,
      [
        [446, entry],
        [32769, Buffer.from("CD001")],
      ],
      0,
    );
    expect(classify()).toEqual({ image: false, reason: "ISO 9660 image" });
  });

  it("takes a large file with holes for an image, one without, or of odd size, not", () => {
    const fd = openSync(path, "w");
    ftruncateSync(fd, 64 * mib);
    writeSync(fd, "text", 5 * mib);
    expect(classify()).toEqual({ image: true, reason: "large file with holes" });
    ftruncateSync(fd, 64 * mib + 511);
    expect(classify().image).toBe(false);
    ftruncateSync(fd, 63 * mib);
    expect(classify().image).toBe(false);
    closeSync(fd);
    make(64 * mib);
    expect(classify().image).toBe(false);
  });

  it("takes every block device for an image, and nothing else that is no file", async (context) => {
    expect(classify("/dev/null")).toEqual({ image: false, reason: "not a file" });
    await withLoopDevice(context, mib, (device) => {
      expect(classify(device)).toEqual({ image: true, reason: "block device" });
    });
  });
});
