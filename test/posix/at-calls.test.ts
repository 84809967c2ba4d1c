import {
  closeSync,
  constants,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { existsSync, lstatSync, mkdirSync, readdirSync, renameSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

import * as door from "../../src/posix/index.ts";
import { nativeAt } from "../../src/posix/at-native.ts";
import { procAt } from "../../src/posix/at-proc.ts";

let root: string;
let target: number;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "ashlar-at-"));
  mkdirSync(join(root, "target"));
  target = door.openDirAt(undefined, join(root, "target"));
});

afterEach(() => {
  closeSync(target);
  rmSync(root, { recursive: true });
});

const create = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL;
const c = (name: string): Buffer => Buffer.from(`${name}\0`, "latin1");
const inTarget = (name: string): string => join(root, "target", name);

describe.each([
  ["native", nativeAt],
  ["/proc", procAt],
] as const)("entries of open directories, %s", (_, at) => {
  it("makes, links, renames and removes entries of every kind", () => {
    at.mkdir(target, c("dir"), 0o750);
    const dir = at.open(target, c("dir"), constants.O_DIRECTORY | constants.O_NOFOLLOW, 0);
    const file = at.open(dir, c("file"), create | constants.O_NOFOLLOW, 0o640);
    writeSync(file, "text");
    closeSync(file);
    at.link(dir, c("file"), target, c("hard"));
    at.symlink(c("../any where"), dir, c("link"));
    at.rename(dir, c("file"), dir, c("renamed"));
    expect(readFileSync(inTarget("dir/renamed"), "utf8")).toBe("text");
    expect(readFileSync(inTarget("hard"), "utf8")).toBe("text");
    expect(readlinkSync(inTarget("dir/link"))).toBe("../any where");
    expect(at.stat(target, c("hard"))).toMatchObject({
      type: "file",
      mode: 0o640,
      size: 4,
      links: 2,
    });
    at.unlink(dir, c("link"));
    at.unlink(dir, c("renamed"));
    at.rmdir(target, c("dir"));
    closeSync(dir);
    expect(readdirSync(join(root, "target"))).toEqual(["hard"]);
  });

  it("keeps names that are not UTF-8", () => {
    const fd = at.open(target, c("caf\xe9"), create, 0o600);
    closeSync(fd);
    expect(readdirSync(join(root, "target"), { encoding: "buffer" })).toEqual([
      Buffer.from("caf\xe9", "latin1"),
    ]);
  });

  it("tells an absent entry by undefined, and a symlink from what it points to", () => {
    symlinkSync("/etc", inTarget("link"));
    expect(at.stat(target, c("none"))).toBeUndefined();
    expect(at.stat(target, c("link"))).toMatchObject({ type: "symlink", size: 4 });
  });

  it("sets times on a symlink itself, before the epoch too", () => {
    symlinkSync("/etc", inTarget("link"));
    at.utimes(target, c("link"), -1_500_000_000n, 1_000_000_000n);
    expect(at.stat(target, c("link"))).toMatchObject({
      atimeNs: -1_500_000_000n,
      mtimeNs: 1_000_000_000n,
    });
  });

  it("agrees with node:fs about every field", () => {
    for (const name of ["/dev/null", "/etc/passwd", "/proc/self/exe", "/dev/loop0", "/"]) {
      if (!existsSync(name)) continue;
      expect(at.stat(-100, c(name))).toEqual(door.statNs(lstatSync(name, { bigint: true })));
    }
  });

  it("refuses to open a symlink, and a directory that was swapped for one", () => {
    mkdirSync(inTarget("dir"));
    renameSync(inTarget("dir"), inTarget("moved"));
    symlinkSync("/tmp", inTarget("dir"));
    const flags = constants.O_DIRECTORY | constants.O_NOFOLLOW;
    expect(() => at.open(target, c("dir"), flags, 0)).toThrow(/ENOTDIR|ELOOP/);
    expect(() => at.open(target, c("dir"), constants.O_NOFOLLOW, 0)).toThrow(/ELOOP/);
  });

  it("throws errors with code, call and path", () => {
    expect(() => at.open(target, c("none"), 0, 0)).toThrow(
      expect.objectContaining({ code: "ENOENT" }),
    );
    expect(() => {
      at.rmdir(target, c("none"));
    }).toThrow(/ENOENT: no such file or directory, \w+ '.*none'/);
  });
});

describe("the door's calls in open directories", () => {
  it.each(["", ".", "..", "a/b", "/etc", "../x", "a\0b"])("refuse %j as a name", (name) => {
    expect(() => door.openFileAt(target, name, 0)).toThrow(/EINVAL/);
    expect(() => {
      door.mkdirAt(target, name, 0o700);
    }).toThrow(/EINVAL/);
    expect(() => {
      door.unlinkAt(target, name);
    }).toThrow(/EINVAL/);
    expect(() => {
      door.symlinkAt("x", target, name);
    }).toThrow(/EINVAL/);
    expect(() => {
      door.renameAt(target, "a", target, name);
    }).toThrow(/EINVAL/);
    expect(() => door.pathAt(target, name)).toThrow(/EINVAL/);
  });

  it("do not write through a symlink in the target", () => {
    writeFileSync(join(root, "outside"), "kept");
    symlinkSync("../outside", inTarget("link"));
    expect(() => door.openFileAt(target, "link", constants.O_WRONLY | constants.O_TRUNC)).toThrow(
      /ELOOP/,
    );
    expect(() => {
      door.fchmodAt(target, "link", 0o777);
    }).toThrow(/ENOTSUP/);
    door.fchownAt(target, "link", process.getuid!(), process.getgid!());
    expect(readFileSync(join(root, "outside"), "utf8")).toBe("kept");
  });

  it("keep to the directory that was opened when its path comes to mean another", () => {
    door.mkdirAt(target, "dir", 0o700);
    const dir = door.openDirAt(target, "dir");
    renameSync(inTarget("dir"), inTarget("moved"));
    symlinkSync(root, inTarget("dir"));
    closeSync(door.openFileAt(dir, "file", create, 0o600));
    closeSync(dir);
    expect(existsSync(inTarget("moved/file"))).toBe(true);
    expect(existsSync(join(root, "file"))).toBe(false);
  });

  it("set the mode of files and fifos, setuid included", () => {
    door.mknodAt(target, "fifo", "fifo", 0o600);
    closeSync(door.openFileAt(target, "file", create, 0o600));
    door.fchmodAt(target, "fifo", 0o622);
    door.fchmodAt(target, "file", 0o4711);
    expect(door.fstatatNs(target, "fifo")).toMatchObject({ type: "fifo", mode: 0o622 });
    expect(door.fstatatNs(target, "file")).toMatchObject({ type: "file", mode: 0o4711 });
  });

  it("keep nanoseconds of paths and entries", () => {
    closeSync(door.openFileAt(target, "file", create, 0o600));
    door.utimensAt(target, "file", 1_234_567_890_123_456_789n, -1n);
    const expected = { atimeNs: 1_234_567_890_123_456_789n, mtimeNs: -1n };
    expect(door.fstatatNs(target, "file")).toMatchObject(expected);
    door.utimesNs(inTarget("file"), 1n, 999_999_999n);
    expect(door.lstatNs(inTarget("file"))).toMatchObject({ atimeNs: 1n, mtimeNs: 999_999_999n });
  });

  it.runIf(process.getuid!() === 0)("make device files with the numbers that node:fs reads", () => {
    const numbers = { major: 259, minor: 70_000 };
    door.mknodAt(target, "char", "chardev", 0o600, numbers);
    door.mknod(inTarget("block"), "blockdev", 0o640, 7, 300);
    door.mkfifo(inTarget("fifo"), 0o600);
    expect(door.fstatatNs(target, "char")).toMatchObject({ type: "chardev", rdev: numbers });
    expect(lstatSync(inTarget("char"), { bigint: true }).rdev).toBe(door.makeDevice(numbers));
    expect(door.lstatNs(inTarget("block"))).toMatchObject({
      type: "blockdev",
      mode: 0o640,
      rdev: { major: 7, minor: 300 },
    });
    expect(lstatSync(inTarget("fifo")).isFIFO()).toBe(true);
  });
});
