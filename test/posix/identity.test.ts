import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { expect, describe, it } from "vitest";
import fc from "fast-check";

import {
  groupId,
  groupName,
  isProcessAlive,
  makeDevice,
  processIdentity,
  splitDevice,
  userId,
  userName,
} from "../../src/posix/index.ts";

describe("isProcessAlive()", () => {
  it("knows a process that runs, one that ended, and one that only has its number", async () => {
    const self = processIdentity();
    expect(isProcessAlive(self)).toBe(true);
    expect(isProcessAlive({ ...self, startTicks: self.startTicks + 1 })).toBe(false);
    const child = spawn("true");
    const pid = child.pid!;
    await once(child, "exit");
    expect(isProcessAlive({ ...self, pid })).toBe(false);
  });

  it("does not know about other machines, boots and namespaces", () => {
    const self = processIdentity();
    expect(isProcessAlive({ ...self, machine: "other" })).toBeUndefined();
    expect(isProcessAlive({ ...self, bootId: "other" })).toBeUndefined();
    expect(isProcessAlive({ ...self, pidNamespace: "pid:[1]" })).toBeUndefined();
    expect(isProcessAlive({ ...self, pid: -1 })).toBeUndefined();
  });
});

describe("names of owners", () => {
  it("are those that the system knows, both ways", () => {
    expect(userName(0)).toBe("root");
    expect(groupName(0)).toBe("root");
    expect(userId("root")).toBe(0);
    const uid = Number(execFileSync("id", ["-u", "nobody"], { encoding: "utf8" }));
    expect(userName(uid)).toBe("nobody");
    expect(userId("nobody")).toBe(uid);
    const group = execFileSync("id", ["-gn", "nobody"], { encoding: "utf8" }).trim();
    expect(groupId(group)).toBe(Number(execFileSync("id", ["-g", "nobody"], { encoding: "utf8" })));
  });

  it("are empty and undefined where the system knows none", () => {
    expect(userName(3_999_999_999)).toBe("");
    expect(groupName(3_999_999_999)).toBe("");
    expect(userId("no such user")).toBeUndefined();
    expect(groupId("no such group")).toBeUndefined();
  });
});

describe("device numbers", () => {
  it("are split into what they were made of", () => {
    const part = fc.integer({ min: 0, max: 0xffffffff });
    fc.assert(
      fc.property(part, part, (major, minor) => {
        expect(splitDevice(makeDevice({ major, minor }))).toEqual({ major, minor });
      }),
    );
  });

  it("are those of glibc", () => {
    expect(makeDevice({ major: 8, minor: 1 })).toBe(0x801n);
    expect(makeDevice({ major: 0x12345, minor: 0x6789a })).toBe(0x00012000_6783459an);
  });
});
