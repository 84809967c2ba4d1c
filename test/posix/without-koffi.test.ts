import { closeSync, constants, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { Module } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it, vi } from "vitest";

import type * as Door from "../../src/posix/index.ts";

/** Node's own resolver, made to find no koffi: as after an install that left it out. */
const resolver = Module as unknown as {
  _resolveFilename: (request: string, ...rest: unknown[]) => string;
};
const resolve = resolver._resolveFilename;
let posix: typeof Door;
let folder: string;

beforeAll(async () => {
  resolver._resolveFilename = (request, ...rest) => {
    if (request === "koffi") throw new Error("Cannot find module 'koffi'");
    return resolve.call(resolver, request, ...rest);
  };
  vi.resetModules();
  posix = await import("../../src/posix/index.ts");
  posix.posixCalls();
  resolver._resolveFilename = resolve;
  folder = mkdtempSync(join(tmpdir(), "ashlar-bare-"));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

it("names every call that is missing, and why", () => {
  expect(posix.posixCalls()).toMatchObject({ reason: "Cannot find module 'koffi'" });
  expect(posix.posixCalls().missing).toContain("llistxattr");
  expect(posix.posixCalls().missing).toContain("lseek");
});

it("takes a file for all data, and makes no holes", () => {
  const fd = openSync(join(folder, "file"), "w+");
  expect(posix.seekData(fd, 0)).toBeUndefined();
  expect(posix.punchHole(fd, 0, 4096)).toBe(false);
  closeSync(fd);
  const size = readFileSync("/etc/passwd").length;
  const known = openSync("/etc/passwd", "r");
  expect(posix.seekData(known, 3)).toBe(3);
  expect(posix.seekHole(known, 3)).toBe(size);
  expect(posix.seekHole(known, size)).toBeUndefined();
  closeSync(known);
});

it("still restores into open directories, knows owners, and finds no attributes", () => {
  const dir = posix.openDirAt(undefined, folder);
  closeSync(posix.openFileAt(dir, "made", constants.O_CREAT | constants.O_EXCL, 0o640));
  expect(posix.fstatatNs(dir, "made")).toMatchObject({ type: "file", mode: 0o640 });
  closeSync(dir);
  expect(posix.userName(0)).toBe("root");
  expect(posix.groupId("root")).toBe(0);
  expect(posix.listXattrs(folder)).toEqual([]);
});

it("fails with ENOSYS where there is no other way", () => {
  expect(() => {
    posix.mkfifo(join(folder, "fifo"), 0o600);
  }).toThrow(/ENOSYS/);
  expect(() => {
    posix.setXattr(folder, "user.x", new Uint8Array(1));
  }).toThrow(/ENOSYS/);
});
