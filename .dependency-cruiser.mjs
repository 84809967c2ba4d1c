/**
 * The arrows of docs/architecture.md, one rule each. A room is entered by its door (index.ts) and
 * imports only the rooms named for it.
 */
const rooms = {
  chunker: [],
  crypto: [],
  storage: [],
  posix: [],
  files: ["posix"],
  nbd: ["posix"],
  image: ["posix", "nbd"],
  machine: ["posix", "nbd", "image"],
  guest: [],
  "serve/rest": ["storage"],
  "serve/nbd": [
    "repo/ops",
    "repo/blobs",
    "repo/blob-index",
    "repo/format",
    "crypto",
    "storage",
    "posix",
    "image",
    "nbd",
  ],
  "serve/fuse": ["repo/ops", "repo/format", "posix"],
  "repo/format": ["crypto"],
  "repo/blob-index": ["repo/format", "crypto", "storage"],
  "repo/blobs": ["repo/blob-index", "repo/format", "chunker", "crypto", "storage"],
  "repo/ops": [
    "repo/blobs",
    "repo/blob-index",
    "repo/format",
    "chunker",
    "crypto",
    "storage",
    "posix",
    "files",
    "image",
    "nbd",
    "machine",
  ],
};
const names = Object.keys(rooms);

export default {
  forbidden: [
    {
      name: "no-cycles",
      comment:
        "A cycle means that two files answer one question: merge them or find the seam. A type may point back: it is gone when the program runs.",
      severity: "error",
      from: {},
      to: { circular: true, viaOnly: { dependencyTypesNot: ["type-only"] } },
    },
    {
      name: "pure-rooms-do-no-io",
      comment:
        "Codecs, cutters and ids are functions of their arguments: that is what makes golden bytes possible. The aligned cutter may read its own .wasm.",
      severity: "error",
      from: {
        path: "^src/(chunker|crypto|repo/format)/",
        pathNot: "^src/(chunker/[^/]*wasm[^/]*|crypto/(kdf|kdf-worker|random))\\.ts$",
      },
      to: {
        dependencyTypes: ["core"],
        path: "^(node:)?(fs|net|http|child_process|worker_threads|process|os)(/|$)",
      },
    },
    ...names.map((room) => ({
      name: `room-${room.replace("/", "-")}`,
      comment: `${room} may import ${rooms[room].join(", ") || "no other room"}: the arrows go one way.`,
      severity: "error",
      from: { path: `^src/${room}/` },
      to: {
        path: "^src/[^/]+/",
        pathNot: [`^src/${room}/`, ...rooms[room].map((other) => `^src/${other}/`)],
      },
    })),
    {
      name: "lobby-imports-nothing",
      comment: "src/*.ts are leaf helpers that every room may use.",
      severity: "error",
      from: { path: "^src/[^/]+\\.ts$" },
      to: { path: "^src/[^/]+/" },
    },
    {
      name: "nothing-imports-the-cli",
      comment: "Commands are thin: what is worth sharing lives below them.",
      severity: "error",
      from: { path: "^src/", pathNot: "^src/cli/" },
      to: { path: "^src/cli/" },
    },
    ...[...names, "cli"].map((room) => ({
      name: `door-of-${room.replace("/", "-")}`,
      comment: `Others come into ${room} by its door, index.ts.`,
      severity: "error",
      from: { path: "^src/", pathNot: [`^src/${room}/`] },
      to: {
        path: `^src/${room}/`,
        pathNot: [
          `^src/${room}/index\\.ts$`,
          ...names.filter((n) => n.startsWith(`${room}/`)).map((n) => `^src/${n}/`),
        ],
      },
    })),
  ],
  options: {
    tsPreCompilationDeps: true,
    tsConfig: { fileName: "tsconfig.json" },
    doNotFollow: { path: "node_modules" },
  },
};
