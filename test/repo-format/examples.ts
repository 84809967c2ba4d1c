/** One plain value of the objects that several tests need. */
import type { Settings, Snapshot } from "../../src/repo/format/index.ts";

export const exampleSettings: Settings = {
  chunker: {
    image: {
      algorithm: "nh-siphash-v1",
      blockBytes: 4096,
      segmentBytes: 4_194_304,
      minBytes: 16_384,
      averageBytes: 65_536,
      maxBytes: 262_144,
      threshold: 330_382_099,
      holeBlocks: 4,
    },
    stream: {
      algorithm: "fastcdc-wasm-v1",
      minBytes: 16_384,
      averageBytes: 65_536,
      maxBytes: 262_144,
    },
  },
  pack: { targetBytes: 16_777_216 },
  delta: { depth: 1 },
  map: { fanout: 128 },
  created: "2026-11-23T02:00:00.000Z",
};

export const exampleSnapshot: Snapshot = {
  time: "2026-11-23T02:26:03.123456789Z",
  hostname: "lamp-1",
  username: "root",
  uid: 0,
  gid: 0,
  paths: ["/var/lib/libvirt/images/a.raw", "/srv/caf\u00e9/\udcff"],
  tags: ["nightly"],
  excludes: ["*.tmp"],
  tree: "11".repeat(32),
  parent: "22".repeat(32),
  writer: "33".repeat(16),
  sequence: 2,
  previous: "22".repeat(32),
  session: "44".repeat(16),
  ackedMark: 7,
  tool: "ashlar 0.1.0",
  warnings: { count: 1, first: ["Cannot read /etc/shadow: permission denied"] },
  summary: { bytesRead: 6_442_450_944, chunksNew: 12 },
};
