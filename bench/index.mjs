/**
 * What the index costs: first open (fetch, sort, store), later opens, lookups, disk and memory.
 *
 *   npm run build && node bench/index.mjs [--count 2000000] [--dist dist] [--dir folder]
 *
 * Ids are an AES-CTR key stream, so any of them can be made again without keeping them. Each phase is
 * a process of its own, so that its memory is its own; `--count 100000000` needs 12 GB of disk.
 */
import { spawnSync } from "node:child_process";
import { createCipheriv, createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";

const { values: options } = parseArgs({
  options: {
    count: { type: "string", default: "2000000" },
    dist: { type: "string", default: join(import.meta.dirname, "../dist") },
    dir: { type: "string" },
    phase: { type: "string" },
  },
});
const count = Number(options.count);
const blobsPerPack = 600;
const packsPerObject = 350;
const sealedBytes = 27_000;

const load = (room) => import(resolve(options.dist, room, "index.js"));
const crypto = await load("crypto");
const { BlobIndex, sealIndexObject } = await load("repo/blob-index");
await crypto.loadSodium();

/** The same keys in every phase; nothing here is secret. */
let drawn = 0;
const random = { bytes: (length) => keyStream("keys", drawn++, length) };
const keys = crypto.generateFullKeys(random);
const writer = crypto.generateWriterKeys(random);
const repoId = random.bytes(16);

const phases = { make, fill, open };
if (options.phase !== undefined)
  console.log(JSON.stringify(await phases[options.phase](options.dir)));
else {
  const dir = options.dir ?? mkdtempSync(join(tmpdir(), "ashlar-bench-index-"));
  try {
    for (const phase of Object.keys(phases)) console.log(`${phase}:`, runPhase(phase, dir));
  } finally {
    if (options.dir === undefined) rmSync(dir, { recursive: true });
  }
}

function runPhase(phase, dir) {
  const args = [
    import.meta.filename,
    "--phase",
    phase,
    "--dir",
    dir,
    "--count",
    `${count}`,
    "--dist",
    options.dist,
  ];
  const { stdout, status } = spawnSync(process.execPath, args, {
    stdio: ["ignore", "pipe", "inherit"],
    maxBuffer: 1 << 24,
  });
  if (status !== 0) throw new Error(`phase ${phase} ended with ${status}`);
  return JSON.parse(stdout.toString());
}

/** Index objects of `count` blobs, as files. */
function make(dir) {
  mkdirSync(join(dir, "index"), { recursive: true });
  let bytes = 0;
  for (let first = 0; first < count; first += blobsPerPack * packsPerObject) {
    const packs = [];
    for (
      let from = first;
      from < Math.min(count, first + blobsPerPack * packsPerObject);
      from += blobsPerPack
    )
      packs.push(makePack(from, Math.min(blobsPerPack, count - from)));
    const stored = sealIndexObject(
      { replaces: [], session: undefined, packs },
      { keys, repoId, writer, random },
    );
    writeFileSync(join(dir, "index", createHash("sha256").update(stored).digest("hex")), stored);
    bytes += stored.length;
  }
  return { objects: readdirSync(join(dir, "index")).length, bytesPerBlob: round(bytes / count) };
}

/** The first open: everything is fetched. */
async function fill(dir) {
  const started = performance.now();
  const index = await openIndex(dir);
  const seconds = (performance.now() - started) / 1000;
  const { records, runs } = index.sizes;
  index.close();
  const cache = join(dir, "cache", Buffer.from(repoId).toString("hex"), "index");
  const bytes = readdirSync(cache).reduce((sum, name) => sum + statSync(join(cache, name)).size, 0);
  return {
    records,
    runs,
    seconds: round(seconds),
    diskBytesPerBlob: round(bytes / count),
    peakMiB: memory("VmHWM"),
  };
}

/** A later open, and lookups. */
async function open(dir) {
  const before = memory("RssAnon");
  const started = performance.now();
  const index = await openIndex(dir);
  const openMs = performance.now() - started;
  const rssAnonMiB = memory("RssAnon");
  const known = measure(
    index,
    200_000,
    (n) => Math.floor(((n * 0.618033988749895) % 1) * count),
    "ids",
  );
  const unknown = measure(index, 1_000_000, (n) => n, "others");
  const result = {
    runs: index.sizes.runs,
    openMs: round(openMs),
    knownPerSecond: known.perSecond,
    knownFound: known.found,
    unknownPerSecond: unknown.perSecond,
    unknownFound: unknown.found,
    rssAnonBeforeMiB: before,
    rssAnonMiB,
  };
  index.close();
  return result;
}

function measure(index, lookups, numberOf, label) {
  const ids = new Uint8Array(lookups * 32);
  for (let n = 0; n < lookups; n++) ids.set(keyStream(label, numberOf(n), 32), n * 32);
  for (let n = 0; n < lookups / 10; n++) index.has("data", ids, n * 32);
  let found = 0;
  const started = performance.now();
  for (let n = 0; n < lookups; n++) if (index.has("data", ids, n * 32)) found++;
  const perSecond = Math.round((lookups / (performance.now() - started)) * 1000);
  return { perSecond, found: found / lookups };
}

async function openIndex(dir) {
  const verify = (kind, content) => ({
    writerId: writer.writerId,
    body: crypto.verifySigned(kind, content, writer.signPublic, repoId),
  });
  const onNote = (note) => console.error(note);
  return await BlobIndex.open({
    storage: folderStorage(dir),
    keys,
    repoId,
    cacheDir: join(dir, "cache"),
    verify,
    onNote,
  });
}

/** As much of a Storage as reading an index takes. */
function folderStorage(dir) {
  return {
    location: dir,
    traits: { conditionalPut: true, local: true },
    async get(kind, name) {
      const path = join(dir, kind, name);
      return existsSync(path) ? new Uint8Array(readFileSync(path)) : undefined;
    },
    async *list(kind) {
      for (const name of readdirSync(join(dir, kind)))
        yield { name, size: statSync(join(dir, kind, name)).size };
    },
  };
}

function makePack(first, blobs) {
  return {
    name: createHash("sha256").update(`pack ${first}`).digest(),
    size: 126 + blobs * sealedBytes + 100,
    cls: "data",
    count: blobs,
    ids: keyStream("ids", first, blobs * 32),
    sealedLengths: new Uint32Array(blobs).fill(sealedBytes),
    plainLengths: new Uint32Array(blobs).fill(65_536),
    forms: new Uint8Array(blobs).fill(1),
    depths: new Uint8Array(blobs),
    bases: [],
  };
}

/** `length` bytes from number `position` on, each number being 32 bytes. */
function keyStream(label, position, length) {
  const counter = Buffer.alloc(16);
  counter.writeBigUInt64BE(BigInt(position) * 2n, 8);
  const key = createHash("sha256").update(label).digest();
  return new Uint8Array(createCipheriv("aes-256-ctr", key, counter).update(Buffer.alloc(length)));
}

function memory(field) {
  const line = new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(
    readFileSync("/proc/self/status", "utf8"),
  );
  return round(Number(line[1]) / 1024);
}

function round(value) {
  return Math.round(value * 100) / 100;
}
