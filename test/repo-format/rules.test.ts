/** What the property tests would find only by luck: the rules of docs/format.md, one by one. */
import { describe, expect, test } from "vitest";
import { BugError, CorruptionError, UnsupportedFormatError } from "../../src/errors.ts";
import type { FileMetadata } from "../../src/file-metadata.ts";
import {
  amendSettings,
  decodeConfig,
  decodeDelta,
  decodeDirectoryNode,
  decodeIndexObject,
  decodePackFooter,
  decodeSession,
  decodeSettings,
  decodeSnapshot,
  dictionaryOf,
  encodeDeltaPrefix,
  encodeDirectory,
  encodeDirectoryNode,
  encodeMapNode,
  encodePackFooter,
  encodeSegmentNode,
  encodeSettings,
  encodeSnapshot,
  heightFor,
  indexedPackOf,
  nodeTypeOf,
  sliceOf,
  type DirectoryEntry,
  type Settings,
} from "../../src/repo/format/index.ts";
import { exampleSettings, exampleSnapshot } from "./examples.ts";

const mib = 1024 * 1024;
const json = (value: unknown) => Buffer.from(JSON.stringify(value));
const parsed = (bytes: Uint8Array) =>
  JSON.parse(Buffer.from(bytes).toString()) as Record<string, unknown>;

function directory(name: string, inode = 1n): DirectoryEntry {
  const metadata: FileMetadata = {
    type: "dir",
    mode: 0o755,
    uid: 0,
    gid: 0,
    user: "",
    group: "",
    mtimeNs: 0n,
    atimeNs: 0n,
    ctimeNs: 0n,
    size: 0,
    inode,
    deviceId: 0n,
    links: 1,
    xattrs: [],
  };
  return { name, metadata, content: { kind: "directory", node: new Uint8Array(32) } };
}

describe("JSON bodies", () => {
  test("refuse a feature they require and we lack, and name it", () => {
    const body = json({ ...parsed(encodeSnapshot(exampleSnapshot)), requires: ["time-travel"] });
    expect(() => decodeSnapshot(body)).toThrow(UnsupportedFormatError);
    expect(() => decodeSnapshot(body)).toThrow(/time-travel/);
  });

  test("refuse another version", () => {
    const body = json({ ...parsed(encodeSnapshot(exampleSnapshot)), version: 2 });
    expect(() => decodeSnapshot(body)).toThrow(UnsupportedFormatError);
  });

  test("pass over fields that they do not know", () => {
    const body = json({ ...parsed(encodeSnapshot(exampleSnapshot)), mood: "fine" });
    expect(decodeSnapshot(body)).toEqual(exampleSnapshot);
  });

  test.each([
    ["sequence", 0],
    ["sequence", 2 ** 53],
    ["sequence", 1.5],
    ["tree", "AB".repeat(32)],
    ["tree", "ab".repeat(31)],
    ["time", "yesterday"],
    ["paths", "/"],
    ["warnings", null],
    ["summary", { "no-letters": 1 }],
    ["summary", { files: -1 }],
  ])("refuse a snapshot whose %s is %j", (field, value) => {
    const body = json({ ...parsed(encodeSnapshot(exampleSnapshot)), [field]: value });
    expect(() => decodeSnapshot(body)).toThrow(CorruptionError);
  });

  test("are refused when we would write what nobody could read", () => {
    expect(() => encodeSnapshot({ ...exampleSnapshot, sequence: 0 })).toThrow(BugError);
  });

  test("keep a path that is not UTF-8", () => {
    const snapshot = { ...exampleSnapshot, paths: ["/srv/\udcff\udc80"] };
    expect(decodeSnapshot(encodeSnapshot(snapshot))).toEqual(snapshot);
  });

  test("of a session name the object before, from the second on", () => {
    const first = {
      version: 1,
      session: "00".repeat(16),
      number: 0,
      kind: "writer",
      state: "active",
      writer: "00".repeat(16),
      hostname: "h",
      time: "2026-11-23T00:00:00Z",
      ttlSeconds: 60,
      pins: [],
    };
    expect(decodeSession(json(first)).number).toBe(0);
    expect(() => decodeSession(json({ ...first, number: 1 }))).toThrow(CorruptionError);
    expect(() => decodeSession(json({ ...first, previous: "00".repeat(32) }))).toThrow(
      CorruptionError,
    );
  });
});

describe("config", () => {
  const config = { version: 1, format: "ashlar", id: "ab".repeat(16), features: [], settings: "" };

  test("is refused for a feature that it requires and we lack, named", () => {
    const bytes = json({ ...config, features: ["keyed-gear"] });
    expect(() => decodeConfig(bytes)).toThrow(UnsupportedFormatError);
    expect(() => decodeConfig(bytes)).toThrow(/keyed-gear/);
  });

  test("is refused for another version, whatever else stands in it", () => {
    expect(() => decodeConfig(json({ format: "ashlar", version: 2, wholly: "new" }))).toThrow(
      UnsupportedFormatError,
    );
  });

  test("of another program is corrupt", () => {
    expect(() => decodeConfig(json({ ...config, format: "restic" }))).toThrow(CorruptionError);
  });
});

describe("settings", () => {
  const changed = (
    change: (copy: Record<string, Record<string, Record<string, unknown>>>) => void,
  ) => {
    const copy = parsed(encodeSettings(exampleSettings)) as never;
    change(copy);
    return json(copy);
  };

  test.each<[string, (copy: Record<string, Record<string, Record<string, unknown>>>) => void]>([
    ["blocks of another size", (s) => (s["chunker"]!["image"]!["blockBytes"] = 8192)],
    ["a segment of 6 MiB", (s) => (s["chunker"]!["image"]!["segmentBytes"] = 6 * mib)],
    ["min above average", (s) => (s["chunker"]!["image"]!["minBytes"] = 128 * 1024)],
    ["average above max", (s) => (s["chunker"]!["stream"]!["averageBytes"] = 8 * mib)],
    ["chunks of broken blocks", (s) => (s["chunker"]!["image"]!["averageBytes"] = 65_537)],
    ["a stream average of 65537", (s) => (s["chunker"]!["stream"]!["averageBytes"] = 65_537)],
    ["a fan-out of 8", (s) => (s["map"]!["fanout"] = 8 as never)],
    ["packs of 65 MiB", (s) => (s["pack"]!["targetBytes"] = (65 * mib) as never)],
    ["depth 9", (s) => (s["delta"]!["depth"] = 9 as never)],
    ["an algorithm nobody knows", (s) => (s["chunker"]!["image"]!["algorithm"] = "md5")],
  ])("are refused with %s", (_what, change) => {
    expect(() => decodeSettings(changed(change))).toThrow(CorruptionError);
  });

  test("change by amendments in their order, but never how bytes are cut (R25)", () => {
    const amended: Settings = amendSettings(exampleSettings, [
      { number: 1, time: "2026-11-23T00:00:00Z", change: { type: "settings", deltaDepth: 3 } },
      {
        number: 2,
        time: "2026-11-23T00:00:00Z",
        change: { type: "settings", deltaDepth: 2, packTargetBytes: 32 * mib },
      },
      {
        number: 3,
        time: "2026-11-23T00:00:00Z",
        change: { type: "writer-removed", writer: "00".repeat(16), lastSequence: 1 },
      },
    ]);
    expect(amended).toEqual({
      ...exampleSettings,
      delta: { depth: 2 },
      pack: { targetBytes: 32 * mib },
    });
  });
});

describe("deltas", () => {
  const id = new Uint8Array(32).fill(7);

  test("have a dictionary that begins with 8 zero bytes, bases as listed (R19)", () => {
    const magic = Uint8Array.of(0x37, 0xa4, 0x30, 0xec);
    const dictionary = dictionaryOf([magic, Uint8Array.of(1, 2)]);
    expect([...dictionary]).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 0x37, 0xa4, 0x30, 0xec, 1, 2]);
  });

  test("have at most 512 KiB of dictionary (R20)", () => {
    expect(dictionaryOf([new Uint8Array(512 * 1024)])).toHaveLength(512 * 1024 + 8);
    expect(() => dictionaryOf([new Uint8Array(512 * 1024), new Uint8Array(1)])).toThrow(
      CorruptionError,
    );
  });

  test("take slices of their bases, the last block as short as the base (R20)", () => {
    const base = new Uint8Array(10_000).map((_, at) => at % 251);
    expect(sliceOf({ id }, base)).toEqual(base);
    const slice = { offsetBlocks: 1, lengthBlocks: 2 };
    expect(sliceOf({ id, slice }, base)).toEqual(base.subarray(4096));
    expect(() => sliceOf({ id, slice: { offsetBlocks: 3, lengthBlocks: 1 } }, base)).toThrow(
      CorruptionError,
    );
  });

  test("give back bases, slices and frame", () => {
    const bases = [{ id }, { id, slice: { offsetBlocks: 2, lengthBlocks: 3 } }];
    const blob = Buffer.concat([encodeDeltaPrefix(bases), Buffer.from("frame")]);
    expect(decodeDelta(blob)).toEqual({ bases, frame: new Uint8Array(Buffer.from("frame")) });
  });

  test.each([
    ["no base", Buffer.concat([Buffer.of(0), Buffer.alloc(36), Buffer.from("frame")])],
    ["five bases", Buffer.concat([Buffer.of(5), Buffer.alloc(5 * 36), Buffer.from("frame")])],
    ["no frame", Buffer.from(encodeDeltaPrefix([{ id }]))],
    ["an end within a base", Buffer.from(encodeDeltaPrefix([{ id }])).subarray(0, 20)],
    [
      "a slice of no blocks",
      Buffer.concat([Buffer.of(1), id, Buffer.of(1, 0, 0, 0), Buffer.of(9)]),
    ],
    [
      "a slice behind 8 MiB",
      Buffer.concat([Buffer.of(1), id, Buffer.of(0, 8, 1, 0), Buffer.of(9)]),
    ],
    ["a slice of 1 MiB", Buffer.concat([Buffer.of(1), id, Buffer.of(0, 0, 0, 1), Buffer.of(9)])],
  ])("with %s are refused", (_what, blob) => {
    expect(() => decodeDelta(blob)).toThrow(CorruptionError);
  });
});

describe("packs", () => {
  const id = new Uint8Array(32).fill(1);
  const plain = { id, sealedLength: 100, plainLength: 84, form: 0 as const, depth: 0, bases: [] };
  const delta = { ...plain, form: 2 as const, depth: 1, bases: [{ id }, { id: id.map(() => 9) }] };

  test("tell the same in the index as in their footer", () => {
    const pack = indexedPackOf(id, 1000, { cls: "tree", entries: [plain, delta] });
    expect(pack).toMatchObject({ cls: "tree", count: 2, size: 1000 });
    expect([...pack.forms]).toEqual([0, 2]);
    expect([...pack.depths]).toEqual([0, 1]);
    expect(pack.bases.map(({ ordinal, prefix }) => [ordinal, prefix[0], prefix.length])).toEqual([
      [1, 1, 8],
      [1, 9, 8],
    ]);
  });

  test.each([
    ["a delta without base", { ...delta, bases: [] }],
    ["a delta of depth 0", { ...delta, depth: 0 }],
    ["a delta of depth 9", { ...delta, depth: 9 }],
    ["a plain blob with a base", { ...plain, bases: [{ id }] }],
    ["five bases", { ...delta, bases: [1, 2, 3, 4, 5].map(() => ({ id })) }],
    ["a blob shorter than its seal", { ...plain, sealedLength: 15 }],
    ["a blob above 8 MiB", { ...plain, plainLength: 8 * mib + 1 }],
  ])("are not written with %s", (_what, entry) => {
    expect(() => encodePackFooter({ cls: "data", entries: [entry] })).toThrow(BugError);
  });

  test("with a hostile count are refused before memory is taken", () => {
    const footer = Buffer.from(encodePackFooter({ cls: "data", entries: [plain] }));
    footer.writeUInt32LE(0xffff_ffff, 1);
    expect(() => decodePackFooter(footer)).toThrow(CorruptionError);
    const index = Buffer.alloc(24);
    index.writeUInt32LE(0xffff_ffff, 20);
    expect(() => decodeIndexObject(index)).toThrow(CorruptionError);
  });
});

describe("directory nodes", () => {
  test.each(["", ".", "..", "a/b", "a\0b"])("do not hold the name %j", (name) => {
    expect(() => encodeDirectoryNode({ entries: [directory(name)] })).toThrow(BugError);
  });

  test.each([
    [".", ".x", "\x01.", "\x01."],
    ["..", "..x", "..x", "..\0"],
    ["a slash", "abc", "abc", "a/c"],
  ])("from a hostile writer are refused with %s", (_what, name, from, to) => {
    const bytes = Buffer.from(encodeDirectoryNode({ entries: [directory(name)] }));
    const at = bytes.indexOf(from);
    if (at < 0) bytes[bytes.indexOf(name) + 1] = 0x2f;
    else bytes.write(to, at, "latin1");
    expect(() => decodeDirectoryNode(bytes)).toThrow(CorruptionError);
  });

  test("are written sorted by bytes, and refused when they are not, or name one twice", () => {
    const bytes = encodeDirectoryNode({ entries: [directory("b"), directory("a")] });
    expect(decodeDirectoryNode(bytes).entries.map(({ name }) => name)).toEqual(["a", "b"]);
    const entry = bytes.subarray(5, 5 + (bytes.length - 5) / 2);
    const twice = Buffer.concat([bytes.subarray(0, 5), entry, entry]);
    expect(() => decodeDirectoryNode(twice)).toThrow(CorruptionError);
    expect(() => encodeDirectoryNode({ entries: [directory("a"), directory("a")] })).toThrow(
      BugError,
    );
  });

  test("pass over fields from 128, and refuse unknown ones below", () => {
    const bytes = encodeDirectoryNode({ entries: [directory("a")] });
    const withField = (tag: number) =>
      Buffer.concat([
        bytes.subarray(0, 5),
        Buffer.of(bytes[5]! + 3),
        bytes.subarray(6),
        Buffer.of(tag, 1, 1),
      ]);
    expect(decodeDirectoryNode(withField(129)).entries).toEqual([directory("a")]);
    expect(() => decodeDirectoryNode(withField(128))).toThrow(CorruptionError);
    expect(() => decodeDirectoryNode(withField(22))).toThrow(UnsupportedFormatError);
  });

  test("keep of which kind a disk was, in these bytes", () => {
    const { metadata } = directory("a");
    const disk = {
      format: "qcow2",
      fileBytes: 393216,
      clusterBytes: 65536,
      compat: "1.1",
      compression: "zstd",
      lazyRefcounts: true,
      extendedL2: false,
      backingFormat: "raw",
      externalData: false,
    } as const;
    const entry: DirectoryEntry = {
      name: "a",
      metadata: { ...metadata, type: "file", size: 1048576 },
      content: { kind: "image", height: 0 },
      disk,
    };
    const bytes = encodeDirectoryNode({ entries: [entry] });
    expect(decodeDirectoryNode(bytes).entries).toEqual([entry]);
    const text = Buffer.from(bytes).toString("latin1");
    expect(text.slice(text.indexOf("{") - 3)).toBe(
      '\x80\xbd\x01{"version":1,"format":"qcow2","fileBytes":393216,"clusterBytes":65536,"compat":"1.1",' +
        '"compression":"zstd","lazyRefcounts":true,"extendedL2":false,"backingFormat":"raw","externalData":false}',
    );
  });

  test("keep of a disk that QEMU read only its format and its file's size", () => {
    const { metadata } = directory("a");
    const entry: DirectoryEntry = {
      name: "a",
      metadata: { ...metadata, type: "file", size: 1048576 },
      content: { kind: "image", height: 0 },
      disk: { format: "vmdk", fileBytes: 70000 },
    };
    const bytes = encodeDirectoryNode({ entries: [entry] });
    expect(decodeDirectoryNode(bytes).entries).toEqual([entry]);
    const text = Buffer.from(bytes).toString("latin1");
    expect(text).toMatch(/\{"version":1,"format":"vmdk","fileBytes":70000\}$/);
    const unknown = Buffer.from(text.replace("vmdk", "what"), "latin1");
    expect(() => decodeDirectoryNode(unknown)).toThrow(CorruptionError);
  });

  test("are cut into pages of at most 1 MiB, and a new name leaves most pages alone", () => {
    const entries = Array.from({ length: 30_000 }, (_, n) =>
      directory(`some-file-of-a-large-directory-${n}`, BigInt(n + 1)),
    );
    const pages = encodeDirectory(entries);
    expect(pages.length).toBeGreaterThan(2);
    expect(Math.max(...pages.map((page) => page.bytes.length))).toBeLessThanOrEqual(mib);
    const all = pages.flatMap((page) => decodeDirectoryNode(page.bytes).entries);
    expect(new Set(all.map(({ name }) => name)).size).toBe(entries.length);
    expect(pages.map((page) => page.firstName)).toEqual(
      pages.map((page) => decodeDirectoryNode(page.bytes).entries[0]!.name),
    );

    const before = new Set(pages.map((page) => Buffer.from(page.bytes).toString("latin1")));
    const after = encodeDirectory([...entries, directory("a-new-name")]);
    const changed = after.filter((page) => !before.has(Buffer.from(page.bytes).toString("latin1")));
    expect(changed.length).toBeLessThan(pages.length / 2);
  });

  test("of an empty directory are one page", () => {
    const pages = encodeDirectory([]);
    expect(pages).toHaveLength(1);
    expect(decodeDirectoryNode(pages[0]!.bytes).entries).toEqual([]);
  });
});

describe("image maps", () => {
  test.each([
    [0, 0],
    [1, 0],
    [4 * mib, 0],
    [4 * mib + 1, 1],
    [512 * mib, 1],
    [512 * mib + 1, 2],
    [64 * 1024 * mib, 2],
    [64 * 1024 * mib + 1, 3],
    [Number.MAX_SAFE_INTEGER, 5],
  ])("of %d bytes have height %d", (size, height) => {
    expect(heightFor(size, 4 * mib, 128)).toBe(height);
  });

  test("are the same bytes however many holes follow (R23)", () => {
    const child = new Uint8Array(32).fill(3);
    const short = encodeMapNode({ height: 1, children: [undefined, child] });
    const long = encodeMapNode({ height: 1, children: [undefined, child, undefined, undefined] });
    expect(long).toEqual(short);
    expect(() => encodeMapNode({ height: 1, children: [undefined] })).toThrow(BugError);
  });

  test("do not hold a segment that is one hole, or two holes side by side (R23)", () => {
    const ids = new Uint8Array(32);
    expect(() =>
      encodeSegmentNode({ runs: Uint16Array.of(0x8400), ids: ids.subarray(0, 0) }),
    ).toThrow(BugError);
    expect(() => encodeSegmentNode({ runs: Uint16Array.of(1, 0x8001, 0x8001), ids })).toThrow(
      BugError,
    );
  });
});

test("A tree blob tells what it is; one of a later version is refused", () => {
  expect(nodeTypeOf(encodeDirectoryNode({ entries: [] }))).toBe("directory");
  expect(() => nodeTypeOf(Uint8Array.of(99))).toThrow(UnsupportedFormatError);
  expect(() => nodeTypeOf(new Uint8Array())).toThrow(CorruptionError);
});
