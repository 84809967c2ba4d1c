/** A value for each codec: what test/fixtures/v1/bodies was written from. */
import type { CodecName } from "./codecs.ts";
import { exampleSettings, exampleSnapshot } from "./examples.ts";
import type {
  Amendment,
  Card,
  Census,
  Config,
  DirectoryEntry,
  DirectoryNode,
  ForgetRecord,
  HookList,
  IndexObject,
  ListNode,
  MapNode,
  MarkRecord,
  PackFooter,
  PageNode,
  SegmentNode,
  Session,
  Settings,
  Snapshot,
  Verdict,
} from "../../src/repo/format/index.ts";
import { indexedPackOf } from "../../src/repo/format/index.ts";

const id = (byte: number) => new Uint8Array(32).fill(byte);
const name = (byte: number) => Buffer.from(id(byte)).toString("hex");
const uuid = (byte: number) => name(byte).slice(32);
const time = "2026-11-23T02:26:03Z";

const common = {
  mode: 0o644,
  uid: 1000,
  gid: 1000,
  user: "anna",
  group: "staff",
  mtimeNs: 1_763_865_963_123_456_789n,
  atimeNs: 0n,
  ctimeNs: -1n,
  size: 0,
  inode: 18_446_744_073_709_551_615n,
  deviceId: 64_769n,
  links: 1,
  xattrs: [],
};

const entries: DirectoryEntry[] = [
  {
    name: "chunks",
    metadata: {
      ...common,
      type: "file",
      size: 5_000_100,
      links: 2,
      xattrs: [
        { name: "user.a", value: Uint8Array.of(1, 2) },
        { name: "user.b", value: new Uint8Array() },
      ],
    },
    content: { kind: "chunks", chunks: [{ length: 100, id: id(0x31) }, { length: 5_000_000 }] },
  },
  {
    name: "device",
    metadata: { ...common, type: "blockdev", rdev: { major: 253, minor: 1_048_575 } },
  },
  {
    name: "dir",
    metadata: { ...common, type: "dir", mode: 0o1755 },
    content: { kind: "directory", node: id(0x32) },
  },
  { name: "fifo", metadata: { ...common, type: "fifo" } },
  {
    name: "image",
    metadata: { ...common, type: "file", size: 6_442_450_944 },
    content: { kind: "image", height: 2, root: id(0x33) },
  },
  {
    name: "image-of-nothing",
    metadata: { ...common, type: "file", size: 8_388_608 },
    content: { kind: "image", height: 1 },
  },
  { name: "link", metadata: { ...common, type: "symlink", mode: 0o777, linkTarget: "../\udcff" } },
  {
    name: "list",
    metadata: { ...common, type: "file", size: 2 ** 53 - 1 },
    content: { kind: "list", root: id(0x34) },
  },
  { name: "socket", metadata: { ...common, type: "socket", user: "", group: "" } },
  { name: "\u00e9", metadata: { ...common, type: "chardev", rdev: { major: 1, minor: 3 } } },
  {
    name: "\udcff\udc80",
    metadata: { ...common, type: "file", mode: 0, uid: 0, gid: 0 },
    content: { kind: "chunks", chunks: [] },
  },
];

const packFooter: PackFooter = {
  cls: "data",
  entries: [
    { id: id(0xa1), sealedLength: 116, plainLength: 100, form: 0, depth: 0, bases: [] },
    { id: id(0xa2), sealedLength: 40_000, plainLength: 65_536, form: 1, depth: 0, bases: [] },
    {
      id: id(0xa3),
      sealedLength: 900,
      plainLength: 65_536,
      form: 2,
      depth: 1,
      bases: [{ id: id(0xa2) }, { id: id(0xb1) }, { id: id(0xb2) }, { id: id(0xb3) }],
    },
  ],
};

interface Values {
  config: Config;
  settings: Settings;
  amendment: Amendment;
  card: Card;
  snapshot: Snapshot;
  session: Session;
  mark: MarkRecord;
  verdict: Verdict;
  census: Census;
  forget: ForgetRecord;
  hooks: HookList;
  "pack-footer": PackFooter;
  index: IndexObject;
  "directory-node": DirectoryNode;
  "page-node": PageNode;
  "list-node": ListNode;
  "segment-node": SegmentNode;
  "map-node": MapNode;
}

const values: Values = {
  config: { id: uuid(0x01), features: [], settings: Uint8Array.of(1, 2, 3, 4) },
  settings: exampleSettings,
  amendment: {
    number: 1,
    time,
    change: { type: "writer-removed", writer: uuid(2), lastSequence: 9 },
  },
  card: { writer: uuid(2), role: "backup", signPublic: name(3), label: "lamp-1", created: time },
  snapshot: exampleSnapshot,
  session: {
    session: uuid(4),
    number: 3,
    previous: name(5),
    kind: "writer",
    state: "active",
    writer: uuid(2),
    hostname: "lamp-1",
    process: {
      bootId: "5f0b9c1e-7d0a-4a0e-9d6a-0c3f8a2b1d4e",
      pidNamespace: "pid:[4026531836]",
      pid: 4242,
      startTicks: 123_456_789,
    },
    time,
    ttlSeconds: 1800,
    ackedMark: 7,
    pins: [name(6)],
  },
  mark: {
    record: "mark",
    generation: 8,
    time,
    session: uuid(4),
    packs: [name(0x51), name(0x52)],
    reason: "unused",
    supersedes: [name(0x61)],
  },
  verdict: { mark: name(0x71), time, session: uuid(4), seenSnapshots: [name(6)], swept: false },
  census: {
    time,
    clock: "lamp-1",
    session: uuid(4),
    dataListing: new Uint8Array(Buffer.concat([id(0x51), id(0x52)])),
    sessionsSeen: [
      { session: uuid(4), newestName: name(5), newestNumber: 3, firstSeen: time, state: "expired" },
    ],
  },
  hooks: {
    values: Uint32Array.of(0x00000004, 0x01020304, 0xfffffffc, 0xffffffff),
    prefixes: Uint32Array.of(0x31313131, 0x31313131, 0x33323130, 0x37363534),
  },
  forget: {
    time,
    snapshots: [
      { name: name(6), writer: uuid(2), sequence: 1 },
      { name: name(7), writer: uuid(2), sequence: 2, replacedBy: name(8) },
    ],
  },
  "pack-footer": packFooter,
  index: {
    replaces: [name(0x61), name(0x62)],
    session: new Uint8Array(16).fill(4),
    packs: [
      indexedPackOf(id(0x51), 65_536, packFooter),
      indexedPackOf(id(0x52), 400, { cls: "tree", entries: packFooter.entries.slice(0, 1) }),
    ],
  },
  "directory-node": { entries },
  "page-node": {
    pages: [
      { firstName: "a", entryCount: 9000, node: id(0x81) },
      { firstName: "\udcff", entryCount: 1, node: id(0x82) },
    ],
  },
  "list-node": {
    height: 1,
    children: [
      { length: 16_777_216, node: id(0x91) },
      { length: 1, node: id(0x92) },
    ],
  },
  "segment-node": {
    runs: Uint16Array.of(16, 0x8000 + 500, 64, 444),
    ids: new Uint8Array(Buffer.concat([id(0xa1), id(0xa2), id(0xa3)])),
  },
  "map-node": { height: 1, children: [id(0xc1), undefined, undefined, id(0xc2)] },
};

/** Typed above, so that a value that lacks a field does not compile. */
export const bodyValues: Record<CodecName, unknown> = values;
