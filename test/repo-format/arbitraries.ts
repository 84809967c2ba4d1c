/** Values of every stored object, for property tests. */
import fc from "fast-check";
import type { FileMetadata, FileType } from "../../src/file-metadata.ts";
import { nameFromBytes, nameToBytes } from "../../src/names.ts";
import { heightFor } from "../../src/repo/format/index.ts";
import type {
  HookList,
  Amendment,
  Card,
  Census,
  Chunk,
  Config,
  DeltaBase,
  DirectoryEntry,
  DirectoryNode,
  EntryContent,
  ForgetRecord,
  IndexedPack,
  IndexObject,
  ListNode,
  MapNode,
  MarkRecord,
  PackEntry,
  PackFooter,
  PageNode,
  SegmentNode,
  Session,
  Settings,
  Snapshot,
  Verdict,
} from "../../src/repo/format/index.ts";

const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const hex = (byteCount: number) =>
  bytes(byteCount).map((value) => Buffer.from(value).toString("hex"));
const name = hex(32);
const uuid = hex(16);
const names = fc.array(name, { maxLength: 4 });
const count = fc.nat();
const time = fc
  .date({ min: new Date(0), max: new Date("2100-01-01"), noInvalidDate: true })
  .map((date) => date.toISOString());
/** Any string the program can meet: UTF-8, and bytes that are not. */
const systemText = fc.uint8Array({ maxLength: 24 }).map(nameFromBytes);
const text = fc.oneof(fc.string({ unit: "binary", maxLength: 20 }), systemText);
/** An object with that field, or without it. */
const optional = <T>(key: string, value: fc.Arbitrary<T>) =>
  fc
    .option(value, { nil: undefined })
    .map((some): Record<string, T> => (some === undefined ? {} : { [key]: some }));

function withOptional<A extends object, B extends object>(
  base: fc.Arbitrary<A>,
  ...extras: fc.Arbitrary<Partial<B>>[]
): fc.Arbitrary<A & Partial<B>> {
  return fc.tuple(base, ...extras).map((parts) => Object.assign({}, ...parts) as A & Partial<B>);
}

export const settings: fc.Arbitrary<Settings> = fc.record({
  chunker: fc.record({
    image: fc.record({
      algorithm: fc.constant("nh-siphash-v1" as const),
      blockBytes: fc.constant(4096 as const),
      segmentBytes: fc.constantFrom(4, 8, 64).map((mib) => mib * 1024 * 1024),
      minBytes: fc.constantFrom(4096, 16_384),
      averageBytes: fc.constantFrom(16_384, 65_536),
      maxBytes: fc.constantFrom(65_536, 262_144, 4 * 1024 * 1024),
      threshold: fc.integer({ min: 1, max: 0xffff_ffff }),
      holeBlocks: fc.integer({ min: 1, max: 64 }),
    }),
    stream: fc.record({
      algorithm: fc.constant("fastcdc-wasm-v1" as const),
      minBytes: fc.integer({ min: 256, max: 65_536 }),
      averageBytes: fc.constantFrom(65_536, 131_072, 262_144),
      maxBytes: fc.integer({ min: 262_144, max: 8 * 1024 * 1024 }),
    }),
  }),
  pack: fc.record({ targetBytes: fc.integer({ min: 1024 * 1024, max: 64 * 1024 * 1024 }) }),
  delta: fc.record({ depth: fc.integer({ min: 1, max: 8 }) }),
  map: fc.record({ fanout: fc.integer({ min: 16, max: 1024 }) }),
  created: time,
});

export const config: fc.Arbitrary<Config> = fc.record({
  id: uuid,
  features: fc.constant([]),
  settings: fc.uint8Array({ maxLength: 300 }),
});

export const snapshot: fc.Arbitrary<Snapshot> = withOptional<
  Omit<Snapshot, "parent" | "original" | "previous" | "ackedMark">,
  Pick<Snapshot, "parent" | "original" | "previous" | "ackedMark">
>(
  fc.record({
    time,
    hostname: text,
    username: text,
    uid: fc.nat(),
    gid: fc.nat(),
    paths: fc.array(systemText, { maxLength: 3 }),
    tags: fc.array(text, { maxLength: 3 }),
    excludes: fc.array(text, { maxLength: 3 }),
    tree: name,
    writer: uuid,
    sequence: fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }),
    session: uuid,
    tool: fc.constant("ashlar 0.1.0"),
    warnings: fc.record({ count, first: fc.array(text, { maxLength: 3 }) }),
    summary: fc.dictionary(fc.stringMatching(/^[a-zA-Z]{1,12}$/), count, {
      maxKeys: 5,
      noNullPrototype: true,
    }),
  }),
  optional("parent", name),
  optional("original", name),
  optional("previous", name),
  optional("ackedMark", count),
);

export const session: fc.Arbitrary<Session> = fc
  .tuple(
    withOptional<
      Omit<Session, "previous" | "process" | "ackedMark" | "ackedMarks">,
      Pick<Session, "process" | "ackedMark" | "ackedMarks">
    >(
      fc.record({
        session: uuid,
        number: fc.oneof(fc.constant(0), count),
        kind: fc.constantFrom("writer" as const, "reader" as const, "collector" as const),
        state: fc.constantFrom("active" as const, "ended" as const, "aborted" as const),
        writer: uuid,
        hostname: text,
        time,
        ttlSeconds: fc.integer({ min: 1, max: 100_000 }),
        pins: names,
      }),
      optional(
        "process",
        fc.record({
          bootId: fc.uuid(),
          pidNamespace: fc.constant("pid:[4026531836]"),
          pid: fc.integer({ min: 1, max: 4_194_304 }),
          startTicks: count,
        }),
      ),
      optional("ackedMark", count),
      optional("ackedMarks", names),
    ),
    name,
  )
  .map(([base, previous]) => (base.number === 0 ? base : { ...base, previous }));

export const mark: fc.Arbitrary<MarkRecord> = fc.oneof(
  withOptional<
    Omit<Extract<MarkRecord, { record: "mark" }>, "supersedes">,
    { supersedes: string[] }
  >(
    fc.record({
      record: fc.constant("mark" as const),
      generation: fc.integer({ min: 1, max: 10_000 }),
      time,
      session: uuid,
      packs: names,
      reason: text,
    }),
    optional("supersedes", names),
  ),
  fc.record({
    record: fc.constant("fence" as const),
    mark: name,
    time,
    session: uuid,
    fenced: fc.array(uuid, { maxLength: 3 }),
  }),
);

export const verdict: fc.Arbitrary<Verdict> = fc.record({
  mark: name,
  time,
  session: uuid,
  seenSnapshots: names,
  swept: fc.boolean(),
});

export const census: fc.Arbitrary<Census> = fc.record({
  time,
  clock: fc.string({ minLength: 1, maxLength: 20 }),
  session: uuid,
  dataListing: fc
    .uniqueArray(name, { maxLength: 4 })
    .map((list) => new Uint8Array(Buffer.from(list.sort().join(""), "hex"))),
  sessionsSeen: fc.array(
    fc.record({
      session: uuid,
      newestName: name,
      newestNumber: count,
      firstSeen: time,
      state: fc.constantFrom(
        "active" as const,
        "ended" as const,
        "aborted" as const,
        "expired" as const,
      ),
    }),
    { maxLength: 3 },
  ),
});

export const forgetRecord: fc.Arbitrary<ForgetRecord> = fc.record({
  time,
  snapshots: fc.array(
    withOptional<{ name: string; writer: string; sequence: number }, { replacedBy: string }>(
      fc.record({ name, writer: uuid, sequence: fc.integer({ min: 1, max: 1000 }) }),
      optional("replacedBy", name),
    ),
    { maxLength: 3 },
  ),
});

export const card: fc.Arbitrary<Card> = fc.record({
  writer: uuid,
  role: fc.constantFrom("full" as const, "backup" as const),
  signPublic: name,
  label: text,
  created: time,
});

export const amendment: fc.Arbitrary<Amendment> = fc.record({
  number: fc.integer({ min: 1, max: 1000 }),
  time,
  change: fc.oneof(
    withOptional<{ type: "settings" }, { packTargetBytes: number; deltaDepth: number }>(
      fc.record({ type: fc.constant("settings" as const) }),
      optional("packTargetBytes", fc.integer({ min: 1 << 20, max: 1 << 26 })),
      optional("deltaDepth", fc.integer({ min: 1, max: 8 })),
    ),
    fc.record({ type: fc.constant("writer-removed" as const), writer: uuid, lastSequence: count }),
  ),
});

const cls = fc.constantFrom("data" as const, "tree" as const);
const id = bytes(32);

const entryFacts = fc
  .record({
    id,
    sealedLength: fc.integer({ min: 16, max: 300_000 }),
    plainLength: fc.integer({ min: 0, max: 8 * 1024 * 1024 }),
    form: fc.constantFrom(0 as const, 1 as const, 2 as const),
    deltaDepth: fc.integer({ min: 1, max: 8 }),
    deltaBases: fc.array(
      id.map((base) => ({ id: base })),
      { minLength: 1, maxLength: 4 },
    ),
  })
  .map(({ deltaDepth, deltaBases, ...facts }): PackEntry =>
    facts.form === 2
      ? { ...facts, depth: deltaDepth, bases: deltaBases }
      : { ...facts, depth: 0, bases: [] },
  );

export const packFooter: fc.Arbitrary<PackFooter> = fc.record({
  cls,
  entries: fc.array(entryFacts, { maxLength: 6 }),
});

const indexedPack: fc.Arbitrary<IndexedPack> = fc
  .record({ name: id, cls, entries: fc.array(entryFacts, { maxLength: 5 }) })
  .map(({ name: packName, cls: packClass, entries }) => ({
    name: packName,
    size: 126 + entries.reduce((sum, entry) => sum + entry.sealedLength, 1000),
    cls: packClass,
    count: entries.length,
    ids: new Uint8Array(Buffer.concat(entries.map((entry) => entry.id))),
    sealedLengths: Uint32Array.from(entries, (entry) => entry.sealedLength),
    plainLengths: Uint32Array.from(entries, (entry) => entry.plainLength),
    forms: Uint8Array.from(entries, (entry) => entry.form),
    depths: Uint8Array.from(entries, (entry) => entry.depth),
    bases: entries.flatMap((entry, ordinal) =>
      entry.bases.map((base) => ({ ordinal, prefix: base.id.slice(0, 8) })),
    ),
  }));

export const indexObject: fc.Arbitrary<IndexObject> = fc.record({
  replaces: fc.uniqueArray(name, { maxLength: 3 }).map((list) => list.sort()),
  session: fc.option(
    bytes(16).filter((value) => value.some((byte) => byte !== 0)),
    { nil: undefined },
  ),
  packs: fc
    .uniqueArray(indexedPack, {
      maxLength: 3,
      selector: (pack) => Buffer.from(pack.name).toString("hex"),
    })
    .map((packs) => packs.sort((a, b) => Buffer.compare(a.name, b.name))),
});

export const deltaBases: fc.Arbitrary<DeltaBase[]> = fc.array(
  withOptional<{ id: Uint8Array }, Pick<DeltaBase, "slice">>(
    fc.record({ id }),
    optional(
      "slice",
      fc.record({
        offsetBlocks: fc.integer({ min: 0, max: 2016 }),
        lengthBlocks: fc.integer({ min: 1, max: 32 }),
      }),
    ),
  ),
  { minLength: 1, maxLength: 4 },
);

const chunk: fc.Arbitrary<Chunk> = fc.oneof(
  fc.record({ length: fc.integer({ min: 1, max: 8 * 1024 * 1024 }), id }),
  fc.record({ length: fc.integer({ min: 1, max: 2 ** 40 }) }),
);

export const listNode: fc.Arbitrary<ListNode> = fc.oneof(
  fc.record({
    height: fc.constant(0 as const),
    chunks: fc.array(chunk, { minLength: 1, maxLength: 5 }),
  }),
  fc.record({
    height: fc.integer({ min: 1, max: 8 }),
    children: fc.array(fc.record({ length: fc.integer({ min: 1, max: 2 ** 45 }), node: id }), {
      minLength: 1,
      maxLength: 5,
    }),
  }),
);

export const segmentNode: fc.Arbitrary<SegmentNode> = fc
  .array(fc.tuple(fc.integer({ min: 1, max: 64 }), fc.boolean(), id), {
    minLength: 1,
    maxLength: 8,
  })
  .map((runs) => {
    const kept = runs.filter(([, isHole], n) => !isHole || (n > 0 && !runs[n - 1]![1]));
    if (kept.length === 0) kept.push([1, false, runs[0]![2]]);
    return {
      runs: Uint16Array.from(kept, ([blocks, isHole]) => blocks + (isHole ? 0x8000 : 0)),
      ids: new Uint8Array(Buffer.concat(kept.filter((run) => !run[1]).map((run) => run[2]))),
    };
  });

export const mapNode: fc.Arbitrary<MapNode> = fc
  .tuple(
    fc.integer({ min: 1, max: 13 }),
    fc.array(fc.option(id, { nil: undefined }), { maxLength: 8 }),
    id,
  )
  .map(([height, children, last]) => ({ height, children: [...children, last] }));

const fileName = fc
  .uint8Array({ minLength: 1, maxLength: 20 })
  .filter((raw) => !raw.includes(0x2f) && !raw.includes(0) && !/^\.{1,2}$/.test(nameFromBytes(raw)))
  .map(nameFromBytes);

const i64 = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const u32 = fc.nat({ max: 0xffff_ffff });
const byNameBytes = (a: { name: string }, b: { name: string }) =>
  Buffer.compare(nameToBytes(a.name), nameToBytes(b.name));

const content: Record<"file" | "dir", fc.Arbitrary<{ size: number; content: EntryContent }>> = {
  file: fc.oneof(
    fc.array(chunk, { maxLength: 4 }).map((chunks) => ({
      size: chunks.reduce((sum, { length }) => sum + length, 0),
      content: { kind: "chunks" as const, chunks },
    })),
    fc.tuple(id, count).map(([root, size]) => ({ size, content: { kind: "list" as const, root } })),
    fc.tuple(fc.option(id, { nil: undefined }), fc.nat({ max: 2 ** 40 })).map(([root, size]) => {
      const height = heightFor(size, 4 * 1024 * 1024, 128);
      return {
        size,
        content: { kind: "image" as const, height, ...(root === undefined ? {} : { root }) },
      };
    }),
  ),
  dir: id.map((node) => ({ size: 0, content: { kind: "directory" as const, node } })),
};

const entry: fc.Arbitrary<DirectoryEntry> = fc
  .constantFrom<FileType>("file", "dir", "symlink", "chardev", "blockdev", "fifo", "socket")
  .chain((type) =>
    fc.record({
      name: fileName,
      base: fc.record({
        type: fc.constant(type),
        mode: fc.nat({ max: 0xfff }),
        uid: u32,
        gid: u32,
        user: systemText,
        group: systemText,
        mtimeNs: i64,
        atimeNs: i64,
        ctimeNs: i64,
        inode: u64,
        deviceId: u64,
        links: fc.nat(),
        xattrs: fc
          .uniqueArray(fc.record({ name: fileName, value: fc.uint8Array({ maxLength: 9 }) }), {
            maxLength: 3,
            selector: (attribute) => attribute.name,
          })
          .map((xattrs) => xattrs.sort(byNameBytes)),
      }),
      linkTarget: systemText,
      rdev: fc.record({ major: u32, minor: u32 }),
      held: type === "file" || type === "dir" ? content[type] : fc.constant(undefined),
    }),
  )
  .map(({ name: entryName, base, linkTarget, rdev, held }) => {
    const isDevice = base.type === "chardev" || base.type === "blockdev";
    const metadata: FileMetadata = {
      ...base,
      size: held?.size ?? 0,
      ...(isDevice ? { rdev } : {}),
      ...(base.type === "symlink" ? { linkTarget } : {}),
    };
    return { name: entryName, metadata, ...(held === undefined ? {} : { content: held.content }) };
  });

export const directoryEntries: fc.Arbitrary<DirectoryEntry[]> = fc
  .uniqueArray(entry, { maxLength: 5, selector: (one) => one.name })
  .map((entries) => entries.sort(byNameBytes));

export const directoryNode: fc.Arbitrary<DirectoryNode> = directoryEntries.map((entries) => ({
  entries,
}));

export const pageNode: fc.Arbitrary<PageNode> = fc
  .uniqueArray(
    fc.record({
      firstName: fileName,
      entryCount: fc.integer({ min: 1, max: 50_000 }),
      node: id,
    }),
    { minLength: 1, maxLength: 4, selector: (page) => page.firstName },
  )
  .map((pages) => ({
    pages: pages.sort((a, b) => byNameBytes({ name: a.firstName }, { name: b.firstName })),
  }));

export const hooks: fc.Arbitrary<HookList> = fc
  .array(fc.tuple(u32, u32, u32, u32), { maxLength: 20 })
  .map((all) => ({
    values: Uint32Array.from(all.flatMap(([low, high]) => [low, high])),
    prefixes: Uint32Array.from(all.flatMap(([, , low, high]) => [low, high])),
  }));
