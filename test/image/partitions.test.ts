/** Partition tables as sfdisk makes them, and as nobody should. */
import { execFileSync, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { crc32 } from "node:zlib";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { partitionTypeName, readPartitionTable } from "../../src/image/index.ts";
import { requires } from "../support/requires.ts";

const hasSfdisk = spawnSync("sfdisk", ["--version"]).status === 0;
const mib = 2 ** 20;
const linux = "0FC63DAF-8483-4772-8E79-3D69D8477DE4";
const efi = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B";
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "ashlar-partitions-"));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

/** A disk of 64 MiB with what sfdisk makes of the script. */
function partitioned(script: string): Buffer {
  const path = join(folder, "disk.raw");
  writeFileSync(path, "");
  truncateSync(path, 64 * mib);
  execFileSync("sfdisk", ["-q", path], { input: script });
  return readFileSync(path);
}

const gptScript = `label: gpt
size=8MiB, type=${efi}, name="EFI system"
size=20MiB, type=${linux}, name="root"
start=40MiB, size=1MiB, type=E6D6D379-F507-44C2-A23C-238F2A3DF928
`;
const mbrScript = `label: dos
start=1MiB, size=10MiB, type=83, bootable
start=11MiB, size=40MiB, type=5
start=51MiB, size=1MiB, type=8e
start=12MiB, size=2MiB, type=82
start=15MiB, size=3MiB, type=83
start=20MiB, size=5MiB, type=7
`;

interface Reading {
  bytes: number;
  count: number;
}

function tableOf(disk: Uint8Array, size = disk.length, reading: Reading = { bytes: 0, count: 0 }) {
  return readPartitionTable(size, (offset, length) => {
    expect(offset).toBeGreaterThanOrEqual(0);
    expect(offset + length).toBeLessThanOrEqual(size);
    reading.count++;
    reading.bytes += length;
    return Promise.resolve(disk.subarray(offset, offset + length));
  });
}

describe("a partition table", () => {
  it("of GPT is read as it was made", async (context) => {
    requires(context, hasSfdisk, "sfdisk is not installed");
    const disk = partitioned(gptScript);
    // sfdisk takes ASCII only.
    disk.write("wurzel ä\u{1f333}", 1024 + 128 + 56, "utf16le");
    seal(disk);
    expect(await tableOf(disk)).toEqual({
      kind: "gpt",
      sectorBytes: 512,
      faults: [],
      partitions: [
        { number: 1, name: "EFI system", type: efi, start: mib, length: 8 * mib },
        { number: 2, name: "wurzel ä\u{1f333}", type: linux, start: 9 * mib, length: 20 * mib },
        {
          number: 3,
          type: "E6D6D379-F507-44C2-A23C-238F2A3DF928",
          start: 40 * mib,
          length: mib,
        },
      ],
    });
    expect(partitionTypeName(efi)).toBe("EFI system");
  });

  it("of MBR is read with its logical partitions", async (context) => {
    requires(context, hasSfdisk, "sfdisk is not installed");
    const table = await tableOf(partitioned(mbrScript));
    expect(table).toMatchObject({ kind: "mbr", faults: [] });
    expect(table?.partitions.map((p) => [p.number, p.type, p.start / mib, p.length / mib])).toEqual(
      [
        [1, "0x83", 1, 10],
        [2, "0x05", 11, 40],
        [3, "0x8e", 51, 1],
        [5, "0x82", 12, 2],
        [6, "0x83", 15, 3],
        [7, "0x07", 20, 5],
      ],
    );
  });

  it("of GPT is read from its copy, and a fault is told", async (context) => {
    requires(context, hasSfdisk, "sfdisk is not installed");
    const disk = partitioned(gptScript);
    const whole = await tableOf(disk);
    disk[512 + 72]! ^= 1;
    const copy = await tableOf(disk);
    expect(copy).toMatchObject({ partitions: whole!.partitions, faults: [/copy is used/] });
    disk[disk.length - 512]! ^= 1;
    expect(await tableOf(disk)).toMatchObject({ partitions: [], faults: [/both GPT headers/] });
    disk.fill(0, 0, 512);
    expect(await tableOf(disk)).toBeUndefined();
  });

  it("of GPT in sectors of 4096 bytes is read", async (context) => {
    requires(context, hasSfdisk, "sfdisk is not installed");
    const disk = Buffer.alloc(mib);
    const small = partitioned(gptScript);
    small.copy(disk, 0, 0, 512);
    small.copy(disk, 4096, 512, 1024);
    small.copy(disk, 8192, 1024, 1024 + 128 * 128);
    disk.writeUInt32LE(0, 4096 + 16);
    disk.writeUInt32LE(crc32(disk.subarray(4096, 4096 + 92)), 4096 + 16);
    const table = await tableOf(disk, 64 * mib);
    expect(table).toMatchObject({ sectorBytes: 4096, partitions: [{ start: 8 * mib }, {}, {}] });
  });

  it("is not seen where there is none", async () => {
    expect(await tableOf(Buffer.alloc(0))).toBeUndefined();
    expect(await tableOf(Buffer.alloc(100))).toBeUndefined();
    expect(await tableOf(Buffer.alloc(mib))).toBeUndefined();
    const fat = Buffer.alloc(mib);
    fat.write("FAT32   ", 82, "latin1");
    fat.writeUInt16BE(0x55aa, 510);
    fat.writeUInt32LE(0x0001_0083, 450);
    fat.writeUInt32LE(1, 454);
    fat.writeUInt32LE(7, 458);
    expect(await tableOf(fat)).toBeUndefined();
  });

  it("whose logical partitions form a loop ends", async (context) => {
    requires(context, hasSfdisk, "sfdisk is not installed");
    const disk = partitioned(mbrScript);
    const second = 11 * mib + disk.readUInt32LE(11 * mib + 462 + 8) * 512;
    disk.writeUInt32LE((second - 11 * mib) / 512, second + 462 + 8);
    const table = await tableOf(disk);
    expect(table).toMatchObject({ faults: [/loop/] });
    expect(table?.partitions).toHaveLength(5);
    disk.writeUInt32LE(0x7fff_ffff, second + 462 + 8);
    expect(await tableOf(disk)).toMatchObject({ faults: [/outside of the disk/] });
    disk[second + 511] = 0;
    expect(await tableOf(disk)).toMatchObject({ faults: [/damaged/] });
  });

  it("that anybody wrote is read or not, soon, and within the disk", async (context) => {
    requires(context, hasSfdisk, "sfdisk is not installed");
    const disks = [gptScript, mbrScript].map((script) => partitioned(script).subarray(0, 32 * mib));
    const places = fc.oneof(
      fc.nat(1024 + 512),
      fc.nat(66).map((n) => 446 + n),
      fc.nat(100).map((n) => 512 + n),
      fc.constantFrom(11, 14, 19).chain((n) => fc.nat(66).map((at) => n * mib + 446 + at)),
    );
    const change = fc.tuple(places, fc.constantFrom(1, 2, 4), fc.nat());
    await fc.assert(
      fc.asyncProperty(
        fc.nat(1),
        fc.array(change, { maxLength: 8 }),
        fc.boolean(),
        fc.nat(32 * mib),
        async (which, changes, isSealed, cut) => {
          const disk = disks[which]!;
          const kept = changes.map(([at]) => [at, disk.subarray(at, at + 4)] as const);
          const saved = kept.map(([at, bytes]) => [at, Buffer.from(bytes)] as const);
          const header = Buffer.from(disk.subarray(512, 1024));
          try {
            for (const [at, length, value] of changes)
              disk.writeUIntLE(value % 256 ** length, at, length);
            if (isSealed) seal(disk);
            const reading = { bytes: 0, count: 0 };
            const table = await tableOf(disk, cut % 3 === 0 ? cut : disk.length, reading);
            expect(reading.count).toBeLessThan(270);
            expect(reading.bytes).toBeLessThan(3 * mib);
            for (const { start, length } of table?.partitions ?? [])
              expect(Number.isSafeInteger(start) && Number.isSafeInteger(length)).toBe(true);
          } finally {
            for (const [at, bytes] of saved.reverse()) disk.set(bytes, at);
            disk.set(header, 512);
          }
        },
      ),
      { numRuns: process.env["SLOW"] === undefined ? 500 : 20_000 },
    );
  });
});

/** Makes the checksums right again, as one who means harm would. */
function seal(disk: Buffer): void {
  const count = Math.min(disk.readUInt32LE(512 + 80), 1000);
  const bytes = Math.min(disk.readUInt32LE(512 + 84), 1000);
  disk.writeUInt32LE(crc32(disk.subarray(1024, 1024 + count * bytes)), 512 + 88);
  disk.writeUInt32LE(0, 512 + 16);
  disk.writeUInt32LE(crc32(disk.subarray(512, 512 + 92)), 512 + 16);
}
