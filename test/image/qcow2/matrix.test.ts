import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { requires } from "../../support/requires.ts";
import { asRaw, contentOf, hasQemuImg, openQcow2, qemuImg, qemuIo } from "./qemu-img.ts";

let folder: string;
const at = (name: string): string => join(folder, name);

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "ashlar-qcow2-"));
});
afterAll(() => {
  rmSync(folder, { recursive: true });
});

/** Data, zeros written and zeros never written, at places that straddle clusters and segments. */
const writes = [
  "write -P 17 0 70000",
  "write -P 34 1000k 200k",
  "write -z 1040k 64k",
  "write -P 51 3333k 7k",
  "write -P 68 9500k 1",
];
const size = 9 * 1024 * 1024 + 512 * 1024;
const sizeText = String(size);

async function expectEqualToQemu(path: string, backingDirs: string[] = []): Promise<number> {
  using source = openQcow2(path, backingDirs);
  const { bytes, readBytes } = await contentOf(source);
  const expected = asRaw(path, folder);
  expect(bytes.length).toBe(expected.length);
  expect(bytes.equals(expected)).toBe(true);
  const whole = Buffer.alloc(source.size);
  await source.read(0, whole);
  expect(whole.equals(expected)).toBe(true);
  expect(source.changedSince()).toBeUndefined();
  return readBytes;
}

describe("a qcow2 file reads as qemu-img converts it", () => {
  const options = [
    "compat=0.10",
    "compat=0.10,cluster_size=512",
    "compat=1.1",
    "cluster_size=512",
    "cluster_size=4096",
    "cluster_size=2M",
    "extended_l2=on,cluster_size=16k",
    "extended_l2=on,cluster_size=128k",
    "lazy_refcounts=on,refcount_bits=1",
    "preallocation=metadata",
    "preallocation=falloc",
  ];
  it.for(options)("%s", async (option, context) => {
    requires(context, hasQemuImg, "qemu-img is not installed");
    const path = at("options.qcow2");
    qemuImg("create", "-q", "-f", "qcow2", "-o", option, path, sizeText);
    qemuIo(path, writes.slice(0, -1));
    const readBytes = await expectEqualToQemu(path);
    // Zeros cost nothing, whether they were never written or are marked.
    expect(readBytes).toBeLessThan(2 * 1024 * 1024 * 3);
    if (option.includes("cluster_size=512")) expect(readBytes).toBeLessThan(300 * 1024);
  });

  const compressions = [
    "compression_type=zlib,cluster_size=4k",
    "compression_type=zlib",
    "compression_type=zlib,cluster_size=2M",
    "compat=0.10",
    "compression_type=zstd,cluster_size=4k",
    "compression_type=zstd",
    "compression_type=zstd,cluster_size=2M",
  ];
  it.for(compressions)("compressed: %s", async (option, context) => {
    requires(context, hasQemuImg, "qemu-img is not installed");
    const raw = at("text.raw");
    const text = Buffer.alloc(size);
    for (let n = 0; n < size / 3; n += 48) text.write(`line ${n} of a log, ${n * 7919}`, n);
    writeFileSync(raw, text);
    const path = at("compressed.qcow2");
    qemuImg("convert", "-c", "-f", "raw", "-O", "qcow2", "-o", option, raw, path);
    qemuIo(path, ["write -P 9 100k 5k"]);
    await expectEqualToQemu(path);
  });

  it("a chain of three, the lowest raw, of different sizes and cluster sizes", async (context) => {
    requires(context, hasQemuImg, "qemu-img is not installed");
    qemuImg("create", "-q", "-f", "raw", at("base.raw"), "5M");
    qemuIo(at("base.raw"), ["write -P 200 0 2M", "write -P 201 4M 1M"], "raw");
    const middle = ["-o", "cluster_size=4k", "-b", "base.raw", "-F", "raw"];
    qemuImg("create", "-q", "-f", "qcow2", ...middle, at("middle.qcow2"), "7M");
    qemuIo(at("middle.qcow2"), ["write -P 1 1M 300k", "write -z 4500k 100k", "write -P 3 6M 1k"]);
    const top = ["-b", "middle.qcow2", "-F", "qcow2"];
    qemuImg("create", "-q", "-f", "qcow2", ...top, at("top.qcow2"), sizeText);
    qemuIo(at("top.qcow2"), writes.slice(1));
    await expectEqualToQemu(at("top.qcow2"));
  });

  it("subclusters over a backing file", async (context) => {
    requires(context, hasQemuImg, "qemu-img is not installed");
    qemuImg("create", "-q", "-f", "qcow2", at("below.qcow2"), sizeText);
    qemuIo(at("below.qcow2"), ["write -P 77 0 9M"]);
    const over = ["-o", "extended_l2=on,cluster_size=64k", "-b", "below.qcow2", "-F", "qcow2"];
    qemuImg("create", "-q", "-f", "qcow2", ...over, at("over.qcow2"));
    qemuIo(at("over.qcow2"), ["write -P 1 4k 2k", "write -z 70k 2k", "write -P 5 1M 1k"]);
    await expectEqualToQemu(at("over.qcow2"));
  });

  it("internal snapshots are named, and the disk as it is now is read", async (context) => {
    requires(context, hasQemuImg, "qemu-img is not installed");
    const path = at("snapshots.qcow2");
    qemuImg("create", "-q", "-f", "qcow2", path, sizeText);
    qemuIo(path, writes.slice(0, -1));
    qemuImg("snapshot", "-c", "before upgrade", path);
    qemuIo(path, ["write -P 99 0 1M"]);
    qemuImg("bitmap", "--add", path, "night");
    await expectEqualToQemu(path);
    using source = openQcow2(path);
    expect(source.chain.snapshots.map(({ name }) => name)).toEqual(["before upgrade"]);
    expect(source.chain.bitmaps).toEqual([
      { name: "night", granularityBytes: 65536, isInconsistent: false },
    ]);
  });

  it.for(["on", "off"])("an external data file, raw %s", async (raw, context) => {
    requires(context, hasQemuImg, "qemu-img is not installed");
    const path = at(`external-${raw}.qcow2`);
    const option = `data_file=${at(`data-${raw}`)},data_file_raw=${raw}`;
    qemuImg("create", "-q", "-f", "qcow2", "-o", option, path, sizeText);
    qemuIo(path, writes.slice(0, -1));
    await expectEqualToQemu(path);
  });

  it("a disk that grew, shrank and had space given back", async (context) => {
    requires(context, hasQemuImg, "qemu-img is not installed");
    const path = at("resized.qcow2");
    qemuImg("create", "-q", "-f", "qcow2", path, sizeText);
    qemuIo(path, writes.slice(0, -1));
    qemuImg("resize", "-q", path, "20M");
    qemuIo(path, ["write -P 5 19M 1M", "discard 1000k 64k"]);
    await expectEqualToQemu(path);
    qemuImg("resize", "-q", "--shrink", path, "3400k");
    await expectEqualToQemu(path);
  });
});

describe("what an image stands on", () => {
  it("is opened beside it or below a folder that was named, and nowhere else", async (context) => {
    requires(context, hasQemuImg, "qemu-img is not installed");
    mkdirSync(at("bases/deep"), { recursive: true });
    qemuImg("create", "-q", "-f", "raw", at("bases/deep/far.raw"), sizeText);
    const far = ["-b", at("bases/deep/far.raw"), "-F", "raw"];
    qemuImg("create", "-q", "-f", "qcow2", ...far, at("overlay.qcow2"));
    expect(() => openQcow2(at("overlay.qcow2"))).toThrow(/lies elsewhere/);
    await expectEqualToQemu(at("overlay.qcow2"), [at("bases")]);
    expect(() => openQcow2(at("overlay.qcow2"), [at("bas")])).toThrow(/lies elsewhere/);
  });

  it("is refused when it leads back to the image", (context) => {
    requires(context, hasQemuImg, "qemu-img is not installed");
    qemuImg("create", "-q", "-f", "qcow2", at("a.qcow2"), "1M");
    qemuImg("create", "-q", "-f", "qcow2", "-b", "a.qcow2", "-F", "qcow2", at("b.qcow2"));
    qemuImg("create", "-q", "-f", "qcow2", "-b", "b.qcow2", "-F", "qcow2", at("c.qcow2"));
    renameSync(at("c.qcow2"), at("a.qcow2"));
    expect(() => openQcow2(at("a.qcow2"))).toThrow(/form a loop/);
  });

  it("is refused when its format is not told, or it is no plain path", (context) => {
    requires(context, hasQemuImg, "qemu-img is not installed");
    qemuImg("create", "-q", "-f", "raw", at("plain.raw"), "1M");
    const create = ["create", "-q", "-f", "qcow2"];
    qemuImg(...create, "-b", "plain.raw", "-F", "raw", at("told.qcow2"), "1M");
    qemuImg("rebase", "-u", "-b", "nbd://localhost/x", "-F", "raw", at("told.qcow2"));
    expect(() => openQcow2(at("told.qcow2"))).toThrow(/no plain path/);
  });
});
