/** Disks in formats that QEMU reads for us are kept as their guests see them. */
import { spawnSync } from "node:child_process";
import {
  appendFileSync,
  copyFileSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  writeFileSync,
} from "node:fs";
import { setTimeout } from "node:timers/promises";
import fc from "fast-check";
import { afterEach, describe, expect, it, vi } from "vitest";
import { StoreError } from "../../src/errors.ts";
import { QemuSource } from "../../src/image/index.ts";
import { backup, listEntries, resolveSnapshot } from "../../src/repo/index.ts";
import { qemuImg } from "../image/qcow2/qemu-img.ts";
import { requires } from "../support/requires.ts";
import { TestPlace } from "../support/test-place.ts";
import { mib, noise, overwriteAt, runRestore, writeImage } from "./restore-support.ts";

const hasQemuNbd = spawnSync("qemu-nbd", ["--version"]).status === 0;
const reason = "qemu-nbd is not installed";

/** 24 MiB with data that repeats nowhere. */
function makeRaw(place: TestPlace): string {
  const path = place.path("disk.raw");
  writeImage(path, 24 * mib, [
    { offset: 0, bytes: noise("boot", 70_000) },
    { offset: 9 * mib, bytes: noise("middle", 3 * mib) },
    { offset: 24 * mib - 4096, bytes: noise("end", 4096) },
  ]);
  return path;
}

async function summaryOf(place: TestPlace, options: Partial<Parameters<typeof backup>[1]>) {
  const repository = await place.repository();
  return backup(repository, { paths: [], cwd: place.folder, ...options });
}

function persistently(act: () => void, tries = 40): void {
  try {
    act();
  } catch (error) {
    if (tries === 0) throw error;
    persistently(act, tries - 1);
  }
}

function dist(module: string): string {
  return new URL(`../../dist/${module}`, import.meta.url).href;
}

/** Processes of QEMU that have this folder's files open. */
function leftOver(place: TestPlace): string[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        if (!readFileSync(`/proc/${pid}/cmdline`, "utf8").startsWith("qemu-nbd")) return false;
        return readdirSync(`/proc/${pid}/fd`).some((fd) =>
          readlinkSync(`/proc/${pid}/fd/${fd}`).startsWith(place.folder),
        );
      } catch {
        return false; // It has ended.
      }
    });
}

describe("a disk that QEMU reads for us", () => {
  const formats = [
    ["vmdk", "subformat=monolithicSparse"],
    ["vmdk", "subformat=streamOptimized"],
    ["vdi", ""],
    ["vhdx", ""],
    ["qed", ""],
    ["parallels", ""],
  ] as const;
  it.for(formats)("%s %s adds nothing after the raw file", async ([format, option], context) => {
    requires(context, hasQemuNbd, reason);
    await using place = await TestPlace.create();
    const raw = makeRaw(place);
    const first = await summaryOf(place, { paths: [raw], images: ["*.raw"] });
    expect(first.chunksNew).toBeGreaterThan(0);
    const disk = place.path(`disk.${format}`);
    const options = option === "" ? [] : ["-o", option];
    qemuImg("convert", "-f", "raw", "-O", format, ...options, raw, disk);
    const second = await summaryOf(place, { paths: [disk] });
    expect(second).toMatchObject({ chunksNew: 0, bytesTotal: 24 * mib, warnings: [] });
    // Of VHDX QEMU does not say where its holes are.
    if (format !== "vhdx") expect(second.bytesRead).toBeLessThan(8 * mib);
    expect(leftOver(place)).toEqual([]);
    const again = await summaryOf(place, { paths: [disk] });
    expect(again).toMatchObject({ filesUnmodified: 1, bytesRead: 0 });
    const repository = await place.repository();
    const snapshot = await resolveSnapshot(repository, again.snapshotId!);
    for await (const { entry } of listEntries(repository, snapshot, { path: disk }))
      expect(entry.disk).toEqual({ format, fileBytes: readFileSync(disk).length });
    const target = { kind: "file", path: place.path("again.raw") } as const;
    const { warnings } = await runRestore(place, { snapshot: again.snapshotId!, target });
    expect(readFileSync(target.path).equals(readFileSync(raw))).toBe(true);
    expect(warnings.join("\n")).toContain(`it was a ${format} file`);
  });

  it("a dynamic VHD, whose size QEMU rounds up", async (context) => {
    requires(context, hasQemuNbd, reason);
    await using place = await TestPlace.create();
    const disk = place.path("disk.vhd");
    qemuImg("convert", "-f", "raw", "-O", "vpc", makeRaw(place), disk);
    const { warnings, snapshotId } = await summaryOf(place, { paths: [disk] });
    expect(warnings).toEqual([]);
    const target = { kind: "file", path: place.path("again.qcow2") } as const;
    await runRestore(place, { snapshot: snapshotId!, target, format: "qcow2" });
    qemuImg("compare", "-q", "-f", "vpc", "-F", "qcow2", disk, target.path);
  });

  it("an encrypted qcow2 file is opened with its passphrase", async (context) => {
    requires(context, hasQemuNbd, reason);
    await using place = await TestPlace.create();
    const raw = makeRaw(place);
    const disk = place.path("secret.qcow2");
    writeFileSync(place.path("key"), "open sesame");
    writeFileSync(place.path("wrong"), "open barley");
    const secret = ["--object", `secret,id=s,file=${place.path("key")}`];
    const luks = "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10";
    // QEMU measures how fast the processor is, and often fails to within so short a time.
    persistently(() => {
      qemuImg("convert", ...secret, "-f", "raw", "-O", "qcow2", "-o", luks, raw, disk);
    });
    const closed = await summaryOf(place, { paths: [disk] });
    expect(closed.warnings.join()).toMatch(/is encrypted\. .*--disk-key-file/);
    expect(closed.isIncomplete).toBe(true);
    const wrong = await summaryOf(place, { paths: [disk], diskKeyFile: "wrong" });
    expect(wrong.warnings.join()).toMatch(/[Ii]nvalid password/);
    const open = await summaryOf(place, { paths: [disk], diskKeyFile: "key" });
    expect(open).toMatchObject({ isIncomplete: false, bytesTotal: 24 * mib });
    const plain = await summaryOf(place, { paths: [raw], images: ["*.raw"] });
    expect(plain.chunksNew).toBe(0);
    expect(leftOver(place)).toEqual([]);
  });

  it("stays the bytes of its file inside a tree, and with --no-image", async (context) => {
    requires(context, hasQemuNbd, reason);
    await using place = await TestPlace.create();
    const disk = place.path("source", "disk.vdi");
    qemuImg("convert", "-f", "raw", "-O", "vdi", makeRaw(place), disk);
    const bytes = readFileSync(disk).length;
    expect(await summaryOf(place, { paths: [place.path("source")] })).toMatchObject({
      bytesTotal: bytes,
      warnings: [],
    });
    expect(await summaryOf(place, { paths: [disk], noImages: ["*.vdi"] })).toMatchObject({
      bytesTotal: bytes,
    });
    expect(await summaryOf(place, { paths: [disk] })).toMatchObject({ bytesTotal: 24 * mib });
  });
});

describe("a file that leads elsewhere is not given to QEMU:", () => {
  it("a parent of a VMDK, extents of a VMDK, a backing file of a QED, a differencing VHD", async (context) => {
    requires(context, hasQemuNbd, reason);
    await using place = await TestPlace.create();
    const raw = makeRaw(place);
    qemuImg("convert", "-f", "raw", "-O", "vmdk", raw, place.path("low.vmdk"));
    const child = (format: string, low: string, name: string): string => {
      const path = place.path(name);
      qemuImg("create", "-q", "-f", format, "-b", place.path(low), "-F", low.split(".")[1]!, path);
      return path;
    };
    const files: [string, RegExp][] = [
      [child("vmdk", "low.vmdk", "child.vmdk"), /it names a parent disk/],
      [child("qed", "disk.raw", "child.qed"), /it names a backing file/],
    ];
    copyFileSync(place.path("low.vmdk"), place.path("list.vmdk"));
    overwriteAt(place.path("list.vmdk"), { offset: 12, bytes: new Uint8Array(8) });
    files.push([place.path("list.vmdk"), /it names the files that it consists of/]);
    qemuImg("convert", "-f", "raw", "-O", "vpc", raw, place.path("child.vhd"));
    overwriteAt(place.path("child.vhd"), { offset: 60, bytes: Uint8Array.of(0, 0, 0, 4) });
    files.push([place.path("child.vhd"), /it names a parent disk/]);
    for (const [path, message] of files) {
      const { warnings, isIncomplete } = await summaryOf(place, { paths: [path] });
      expect(warnings.join()).toMatch(message);
      expect(warnings.join()).toContain("--no-image");
      expect(isIncomplete).toBe(true);
    }
  });

  it("what is damaged is refused, or read", async (context) => {
    requires(context, hasQemuNbd, reason);
    await using place = await TestPlace.create();
    const raw = place.path("small.raw");
    writeImage(raw, 2 * mib, [{ offset: mib, bytes: noise("small", 70_000) }]);
    const formats = ["vmdk", "vdi", "vhdx"] as const;
    const files = formats.map((format) => {
      qemuImg("convert", "-f", "raw", "-O", format, raw, place.path("whole"));
      return { format, bytes: readFileSync(place.path("whole")) };
    });
    const change = fc.tuple(fc.oneof(fc.nat(600), fc.nat(4 * mib)), fc.nat(255));
    const changes = fc.array(change, { minLength: 1, maxLength: 5 });
    const path = place.path("mutated");
    await fc.assert(
      fc.asyncProperty(fc.nat(2), changes, async (which, bytes) => {
        const { format, bytes: whole } = files[which]!;
        const mutated = Buffer.from(whole);
        for (const [at, value] of bytes) mutated[at % mutated.length] = value;
        writeFileSync(path, mutated);
        let source: QemuSource | undefined;
        try {
          source = await QemuSource.open(openSync(path, "r"), path, format);
          await source.read(0, Buffer.alloc(Math.min(source.size, 4 * mib)));
        } catch (error) {
          if (!(error instanceof StoreError)) throw error;
        } finally {
          await source?.close();
        }
      }),
      { numRuns: process.env["SLOW"] === undefined ? 12 : 500 },
    );
    expect(leftOver(place)).toEqual([]);
  });
});

describe("a qemu-nbd that ends", () => {
  it("is said, and the file is not in the snapshot", async (context) => {
    requires(context, hasQemuNbd, reason);
    await using place = await TestPlace.create();
    const disk = place.path("disk.vdi");
    qemuImg("convert", "-f", "raw", "-O", "vdi", makeRaw(place), disk);
    const source = await QemuSource.open(openSync(disk, "r"), disk, "vdi");
    for (const pid of leftOver(place)) process.kill(Number(pid), "SIGKILL");
    await setTimeout(100);
    await expect(source.read(0, Buffer.alloc(4096))).rejects.toThrow(
      "qemu-nbd, which reads it, has ended: it was killed",
    );
    await source.close();
  });

  it("ends with us, however we end", async (context) => {
    requires(context, hasQemuNbd, reason);
    await using place = await TestPlace.create();
    const disk = place.path("disk.vdi");
    qemuImg("convert", "-f", "raw", "-O", "vdi", makeRaw(place), disk);
    // Once a client has come and gone it would end by itself.
    const program = `
      const { QemuNbd } = await import(${JSON.stringify(dist("image/foreign/qemu-nbd.js"))});
      const { openSync } = await import("node:fs");
      await QemuNbd.start(openSync(process.argv[1], "r"), "vdi", {});
      process.kill(process.pid, "SIGKILL");
    `;
    const env = { ...process.env, TMPDIR: place.folder };
    const args = ["--input-type=module", "-e", program, disk];
    const { signal } = spawnSync(process.execPath, args, { env });
    expect(signal).toBe("SIGKILL");
    const rest = (): string[] => [
      ...leftOver(place),
      ...readdirSync(place.folder).filter((name) => name.includes("-qemu-")),
    ];
    for (let tries = 0; tries < 100 && rest().length > 0; tries++) await setTimeout(20);
    expect(rest()).toEqual([]);
  });
});

afterEach(() => {
  vi.unstubAllEnvs();
});

it("a file that changes is told of, and no folder is left behind", async (context) => {
  requires(context, hasQemuNbd, reason);
  await using place = await TestPlace.create();
  vi.stubEnv("TMPDIR", place.folder);
  const disk = place.path("disk.vdi");
  qemuImg("convert", "-f", "raw", "-O", "vdi", makeRaw(place), disk);
  const source = await QemuSource.open(openSync(disk, "r"), disk, "vdi");
  const ours = (): string[] => readdirSync(place.folder).filter((name) => name.includes("-qemu-"));
  expect(ours()).toHaveLength(1);
  expect(source.changedSince()).toBeUndefined();
  appendFileSync(disk, "more");
  expect(source.changedSince()).toContain("changed");
  await source.close();
  expect(ours()).toEqual([]);
});
