/**
 * What a first open downloads: a repository with a million chunks behind `rclone serve restic`, a host
 * with an empty cache, and a proxy between them that counts.
 *
 *   npm run build && node bench/first-open.mjs [--count 1000000] [--dist dist]
 *
 * The chunks are only known to the index, as bench/index.mjs makes them; the open is that of a backup of
 * one small file by the built program, which needs the whole index. A run over the same repository with a
 * filled cache shows what of the bytes is not the index.
 */
import { spawn } from "node:child_process";
import { createCipheriv, createHash } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import { run } from "./measure.mjs";

const { values: options } = parseArgs({
  options: {
    count: { type: "string", default: "1000000" },
    dist: { type: "string", default: join(import.meta.dirname, "../dist") },
  },
});
const count = Number(options.count);
const dist = resolve(options.dist);
const blobsPerPack = 600;
const packsPerObject = 350;
const sealedBytes = 27_000;
const place = mkdtempSync(join(tmpdir(), "ashlar-first-open-"));
const { openStorage, Repository, processIdentity, systemRandom } = await import(
  join(dist, "repo/index.js")
);
const { sealIndexObject } = await import(join(dist, "repo/blob-index/index.js"));

try {
  console.log(
    "| chunks | of them deltas | bases | index, B | first open, B | filled cache, B | B a chunk | B a base |",
  );
  console.log("|---|---|---|---|---|---|---|---|");
  const plain = await measureOpen("plain", 0);
  print(plain, plain);
  for (const [name, share, basesEach] of [
    ["one base", 0.5, 1],
    ["two bases", 0.5, 2],
  ])
    print(await measureOpen(name, share, basesEach), plain);
} finally {
  rmSync(place, { recursive: true, force: true });
}

function print({ deltas, bases, indexBytes, first, later }, plain) {
  const cells = [count, deltas, bases, indexBytes, first, later];
  // The further bytes of a repository whose chunks are as many, and some of them deltas.
  const aBase = bases === 0 ? "" : ((first - plain.first) / bases).toFixed(2);
  console.log(`| ${cells.join(" | ")} | ${(plain.first / count).toFixed(2)} | ${aBase} |`);
}

async function measureOpen(name, share, basesEach = 0) {
  const folder = join(place, name.replace(" ", "-"));
  mkdirSync(folder);
  const env = { HOME: folder, PATH: process.env.PATH, ASHLAR_KEY_FILE: join(folder, "key") };
  const program = [process.execPath, join(dist, "cli/main.js")];
  const repo = join(folder, "repo");
  run([...program, "-r", repo, "init"], { env });
  const made = await fill(repo, readFileSync(env.ASHLAR_KEY_FILE, "utf8"), share, basesEach);
  const server = await serve(folder);
  const proxy = await countingProxy(server.port);
  try {
    writeFileSync(join(folder, "file"), "a small file");
    const received = [];
    for (let n = 0; n < 2; n++) {
      const before = proxy.bytes();
      const args = [
        "-r",
        `rest:http://127.0.0.1:${proxy.port}/repo/`,
        "backup",
        join(folder, "file"),
      ];
      const child = spawn(program[0], [program[1], ...args], {
        env: { ...env, ASHLAR_CACHE_DIR: join(folder, "cache") },
        stdio: ["ignore", "ignore", "inherit"],
      });
      const [code] = await once(child, "close");
      if (code !== 0) throw new Error(`the backup ended with ${code}`);
      received.push(proxy.bytes() - before);
    }
    return { ...made, first: received[0], later: received[1] };
  } finally {
    server.stop();
    proxy.stop();
    rmSync(folder, { recursive: true });
  }
}

/** Puts index objects of `count` chunks; of each pack's the last ones are deltas. */
async function fill(repo, keyText, share, basesEach) {
  const storage = await openStorage(repo);
  const repository = await Repository.open(
    storage,
    { kind: "keyFile", text: keyText },
    {
      clock: { now: () => Date.now(), elapsed: () => performance.now() },
      random: systemRandom,
      hostname: "bench",
      user: "bench",
      process: processIdentity(),
      lanes: 1,
      cacheDir: join(place, "maker"),
      tool: "bench",
      warn: console.error,
      note: () => undefined,
    },
  );
  const made = { deltas: 0, bases: 0, indexBytes: 0 };
  const perObject = blobsPerPack * packsPerObject;
  for (let first = 0; first < count; first += perObject) {
    const packs = [];
    for (let from = first; from < Math.min(count, first + perObject); from += blobsPerPack) {
      const pack = makePack(from, Math.min(blobsPerPack, count - from), share, basesEach);
      made.deltas += pack.depths.reduce((sum, depth) => sum + depth, 0);
      made.bases += pack.bases.length;
      packs.push(pack);
    }
    const { keys, id, writer } = repository;
    const stored = sealIndexObject(
      { replaces: [], session: undefined, packs },
      { keys, repoId: id, writer, random: systemRandom },
    );
    await storage.put("index", createHash("sha256").update(stored).digest("hex"), [stored]);
    made.indexBytes += stored.length;
  }
  await repository.close();
  return made;
}

function makePack(first, blobs, share, basesEach) {
  const deltaCount = Math.floor(blobs * share);
  const isDelta = (ordinal) => ordinal >= blobs - deltaCount;
  const ordinals = Array.from({ length: blobs }, (_, ordinal) => ordinal);
  const ids = keyStream(first, blobs);
  return {
    name: createHash("sha256").update(`pack ${first}`).digest(),
    size: 126 + blobs * sealedBytes + 100,
    cls: "data",
    count: blobs,
    ids,
    sealedLengths: new Uint32Array(blobs).fill(sealedBytes),
    plainLengths: new Uint32Array(blobs).fill(65_536),
    forms: Uint8Array.from(ordinals, (ordinal) => (isDelta(ordinal) ? 2 : 1)),
    depths: Uint8Array.from(ordinals, (ordinal) => (isDelta(ordinal) ? 1 : 0)),
    bases: ordinals.filter(isDelta).flatMap((ordinal) =>
      Array.from({ length: basesEach }, (_, n) => ({
        ordinal,
        prefix: ids.subarray(
          32 * ((ordinal - n) % (blobs - deltaCount)),
          32 * ((ordinal - n) % (blobs - deltaCount)) + 8,
        ),
      })),
    ),
  };
}

/** Ids of 32 bytes each that nothing makes smaller. */
function keyStream(position, ids) {
  const counter = Buffer.alloc(16);
  counter.writeBigUInt64BE(BigInt(position) * 2n, 8);
  const key = createHash("sha256").update("ids").digest();
  return new Uint8Array(createCipheriv("aes-256-ctr", key, counter).update(Buffer.alloc(32 * ids)));
}

async function serve(folder) {
  const args = ["serve", "restic", "--addr", "127.0.0.1:0", folder];
  const child = spawn("rclone", args, { stdio: ["ignore", "ignore", "pipe"] });
  for await (const line of createInterface(child.stderr)) {
    const port = /http:\/\/127\.0\.0\.1:(\d+)\//.exec(line)?.[1];
    if (port !== undefined) return { port: Number(port), stop: () => child.kill() };
  }
  throw new Error("rclone did not start");
}

/** Counts what comes from the server, headers and all. */
async function countingProxy(target) {
  let bytes = 0;
  const server = createServer((near) => {
    const far = connect(target, "127.0.0.1");
    far.on("data", (chunk) => (bytes += chunk.length));
    for (const socket of [near, far]) socket.on("error", () => (near.destroy(), far.destroy()));
    near.pipe(far).pipe(near);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { port: server.address().port, bytes: () => bytes, stop: () => server.close() };
}
