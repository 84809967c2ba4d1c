import { mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { closeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import fc from "fast-check";

import {
  errnoCode,
  getXattr,
  listXattrs,
  openDirAt,
  pathAt,
  readXattrs,
  removeXattr,
  setXattr,
} from "../../src/posix/index.ts";

let folder: string;
let file: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "ashlar-xattr-"));
  file = join(folder, "file");
  writeFileSync(file, "");
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

describe("extended attributes", () => {
  it("are set, listed, read, replaced and removed", (context) => {
    try {
      setXattr(file, "user.probe", bytes(""));
    } catch (error) {
      if (errnoCode(error) !== "ENOTSUP") throw error;
      context.skip(`${folder} keeps no attributes`);
    }
    setXattr(file, "user.caf\udce9", bytes("not UTF-8"));
    setXattr(file, "user.probe", bytes("new"));
    expect(readXattrs(file).filter(({ name }) => name.startsWith("user."))).toEqual(
      expect.arrayContaining([
        { name: "user.probe", value: bytes("new") },
        { name: "user.caf\udce9", value: bytes("not UTF-8") },
      ]),
    );
    removeXattr(file, "user.probe");
    expect(listXattrs(file)).not.toContain("user.probe");
    expect(getXattr(file, "user.probe")).toBeUndefined();
    removeXattr(file, "user.probe");
  });

  it("keep any value", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 3000 }), (value) => {
        setXattr(file, "user.any", value);
        expect(getXattr(file, "user.any")).toEqual(value);
      }),
      { numRuns: 30 },
    );
  });

  it("of an entry are reached through its directory's descriptor, those of a link's target are not", () => {
    symlinkSync(file, join(folder, "link"));
    setXattr(file, "user.target", bytes("x"));
    const dir = openDirAt(undefined, folder);
    expect(listXattrs(pathAt(dir, "file"))).toContain("user.target");
    expect(listXattrs(pathAt(dir, "link"))).not.toContain("user.target");
    expect(() => {
      setXattr(pathAt(dir, "link"), "user.target", bytes("x"));
    }).toThrow(/EPERM/);
    closeSync(dir);
  });

  it("of no file are an error, where none can be are none", () => {
    expect(() => listXattrs(join(folder, "none"))).toThrow(/ENOENT.*none/);
    expect(listXattrs("/proc/self/stat")).toEqual([]);
    expect(getXattr("/proc/self/stat", "user.x")).toBeUndefined();
    expect(() => {
      setXattr("/proc/self/stat", "user.x", bytes(""));
    }).toThrow(/ENOTSUP|EPERM|EACCES/);
  });
});
