/** Whatever stands in a qcow2 file: it is read or refused, soon, and nothing else is. */
import { spawn } from "node:child_process";
import { mkdtempSync, openSync, closeSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { StoreError } from "../../../src/errors.ts";
import { isLockedForWriting } from "../../../src/posix/index.ts";
import { requires } from "../../support/requires.ts";
import { contentOf, hasQemuImg, openQcow2, qemuImg, qemuIo } from "./qemu-img.ts";

let folder: string;
const at = (name: string): string => join(folder, name);
const clusterBytes = 4096;
let image: Buffer;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "ashlar-hostile-"));
  if (!hasQemuImg) return;
  const option = ["-o", `cluster_size=${clusterBytes}`];
  qemuImg("create", "-q", "-f", "qcow2", ...option, at("real.qcow2"), "3M");
  qemuIo(at("real.qcow2"), ["write -P 1 0 30k", "write -c -P 2 1M 16k", "write -z 2M 8k"]);
  image = readFileSync(at("real.qcow2"));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const header = (change: (bytes: Buffer) => void): void => {
  const bytes = Buffer.from(image);
  change(bytes);
  writeFileSync(at("bad.qcow2"), bytes);
};

describe("a header that cannot be meant is refused:", () => {
  const rows: [string, RegExp, (bytes: Buffer) => void][] = [
    ["cluster size", /cluster size/, (b) => b.writeUInt32BE(63, 20)],
    ["L1 size", /larger than 32 MiB/, (b) => b.writeUInt32BE(0xffffffff, 36)],
    ["L1 too short", /too short/, (b) => b.writeUInt32BE(0, 36)],
    ["L1 place", /outside of the file/, (b) => b.writeBigUInt64BE(1n << 40n, 40)],
    ["disk size", /absurdly large|too short/, (b) => b.writeBigUInt64BE(1n << 62n, 24)],
    ["encryption", /encrypted/, (b) => b.writeUInt32BE(2, 32)],
    ["an unknown feature", /not known here/, (b) => b.writeBigUInt64BE(1n << 40n, 72)],
    ["the dirty bit", /not closed properly/, (b) => b.writeBigUInt64BE(1n, 72)],
    ["the corrupt bit", /marked as corrupt/, (b) => b.writeBigUInt64BE(2n, 72)],
    ["snapshots", /snapshots|cut off/, (b) => b.writeUInt32BE(60_000, 60)],
  ];
  it.for(rows)("%s", ([, message, change], context) => {
    requires(context, hasQemuImg, "qemu-img is not installed");
    header(change);
    expect(() => openQcow2(at("bad.qcow2"))).toThrow(message);
  });
});

describe("mutated images", () => {
  it("are read as something, or refused", async (context) => {
    requires(context, hasQemuImg, "qemu-img is not installed");
    const l1 = Number(image.readBigUInt64BE(40));
    const l2 = Number(image.readBigUInt64BE(l1) & 0x00ff_ffff_ffff_fe00n);
    const place = fc.oneof(
      fc.nat(160),
      fc.nat(31).map((n) => l1 + n),
      fc.nat(clusterBytes - 1).map((n) => l2 + n),
      fc.nat(image.length - 1),
    );
    const mutation = fc.array(fc.tuple(place, fc.nat(255)), { minLength: 1, maxLength: 6 });
    let refused = 0;
    await fc.assert(
      fc.asyncProperty(mutation, fc.nat(20), async (changes, cut) => {
        const bytes = Buffer.from(image);
        for (const [offset, value] of changes) bytes[offset] = value;
        const kept = cut === 0 ? Math.floor(bytes.length / 2) : bytes.length;
        writeFileSync(at("mutated.qcow2"), bytes.subarray(0, kept));
        try {
          using source = openQcow2(at("mutated.qcow2"));
          if (source.size < 64 << 20) await contentOf(source, 4 << 20);
        } catch (error) {
          if (!(error instanceof StoreError)) throw error;
          refused++;
        }
      }),
      { numRuns: 300 },
    );
    expect(refused).toBeGreaterThan(0);
  });

  it("with two L1 entries for one table are refused", async (context) => {
    requires(context, hasQemuImg, "qemu-img is not installed");
    const l1 = Number(image.readBigUInt64BE(40));
    header((bytes) => {
      bytes.copy(bytes, l1 + 8, l1, l1 + 8);
    });
    using source = openQcow2(at("bad.qcow2"));
    await expect(contentOf(source)).rejects.toThrow(/two L1 entries/);
  });
});

it("a file that a machine writes to is refused", async (context) => {
  requires(context, hasQemuImg, "qemu-img is not installed");
  const writer = spawn("qemu-io", ["-f", "qcow2", at("real.qcow2")], {
    stdio: ["pipe", "ignore", "ignore"],
  });
  const fd = openSync(at("real.qcow2"), "r");
  try {
    for (let tries = 0; tries < 100 && !isLockedForWriting(fd); tries++) await setTimeout(50);
    expect(() => openQcow2(at("real.qcow2"))).toThrow(/running machine/);
  } finally {
    closeSync(fd);
    writer.stdin.end();
    await new Promise((resolve) => writer.on("exit", resolve));
  }
  using source = openQcow2(at("real.qcow2"));
  expect(source.size).toBe(3 << 20);
});
