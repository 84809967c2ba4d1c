/** Copies between repositories: what arrives, what is not sent twice, and what a death leaves. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { UsageError } from "../../src/errors.ts";
import {
  backup,
  check,
  copySnapshots,
  type CopyHooks,
  type CopyOptions,
  type Credential,
  dump,
  type Environment,
  forget,
  prune,
  readableSnapshots,
  Repository,
  type StoredSnapshot,
} from "../../src/repo/ops/index.ts";
import type { Storage } from "../../src/storage/index.ts";
import { fixedRandom } from "../support/fixed-random.ts";
import { CrashingStorage } from "../support/storage-faults.ts";
import { WrappedStorage } from "../../src/storage/wrapped.ts";
import { MemoryStorage } from "../support/storage-memory.ts";
import { kib, mib, noise } from "./restore-support.ts";

const fullKey: Credential = { kind: "keyFile", text: `ashlar-key-v1 ${"44".repeat(32)}\n` };
type Files = Readonly<Record<string, Uint8Array>>;

/** Text-like bytes with a stretch of noise that a night changes. */
function disk(night: number): Uint8Array {
  const bytes = Buffer.concat([
    noise("disk", 9 * mib),
    Buffer.alloc(mib),
    Buffer.alloc(512 * kib, "line of a log that compresses well\n"),
  ]);
  for (let n = 0; n < night; n++) bytes.set(noise(`night ${n}`, 400), 64 * kib + n * 700 * kib);
  return bytes;
}

/** A long file, listed in nodes, that grows in its middle. */
function dumpFile(night: number): Uint8Array {
  const half = noise("dump", 12 * mib);
  return night === 0
    ? Buffer.concat([half, half.subarray(5)])
    : Buffer.concat([half, noise("in", 3000), half.subarray(5)]);
}

const nights: readonly Files[] = [0, 1, 2].map((night) => ({
  "disk.img": disk(night * 4),
  "tree/dump": dumpFile(night),
  "tree/letter": noise(`letter ${night}`, 3000),
  "tree/kept": noise("kept", 5000),
}));

class CopyLab implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), "ashlar-copy-"));
  source = new MemoryStorage();
  target = new MemoryStorage();
  nowMs = Date.UTC(2026, 10, 23, 3);
  readonly files = new Map<string, Files>();
  readonly warnings: string[] = [];
  #runs = 0;

  static async create(options: { readonly alike: boolean } = { alike: true }): Promise<CopyLab> {
    const lab = new CopyLab();
    const source = await Repository.create(lab.source, fullKey, lab.environment());
    const like = options.alike ? source : undefined;
    await (await Repository.create(lab.target, fullKey, lab.environment(), like)).close();
    await source.close();
    return lab;
  }

  environment(): Environment {
    this.nowMs += 60_000;
    return {
      clock: { now: () => this.nowMs, elapsed: () => this.nowMs },
      random: fixedRandom(`copy ${this.#runs++}`),
      hostname: "copier",
      user: { name: "tester", uid: 0, gid: 0 },
      process: undefined,
      lanes: 0,
      cacheDir: join(this.folder, "cache"),
      tool: "ashlar test",
      warn: (text) => this.warnings.push(text),
      note: () => undefined,
    };
  }

  async using<T>(storage: Storage, use: (repository: Repository) => Promise<T>): Promise<T> {
    const repository = await Repository.open(storage, fullKey, this.environment());
    try {
      return await use(repository);
    } finally {
      await repository.close();
    }
  }

  async backUp(night: number, files: Files = nights[night]!): Promise<string> {
    const root = join(this.folder, "files");
    mkdirSync(join(root, "tree"), { recursive: true });
    for (const [name, bytes] of Object.entries(files)) writeFileSync(join(root, name), bytes);
    const summary = await this.using(this.source, (repository) =>
      backup(repository, {
        paths: [root],
        cwd: this.folder,
        images: ["**/*.img"],
        tags: [`night ${night}`],
        hostname: "web",
        delta: "always",
      }),
    );
    this.files.set(summary.snapshotId!, files);
    return summary.snapshotId!;
  }

  copy(options: CopyOptions = {}, hooks: CopyHooks = {}, storage: Storage = this.target) {
    return this.using(this.source, (source) =>
      this.using(storage, (target) => copySnapshots(source, target, options, hooks)),
    );
  }

  snapshots(storage: Storage = this.target): Promise<StoredSnapshot[]> {
    return this.using(storage, readableSnapshots);
  }

  /** Every snapshot of the target gives what its origin was made of, and nothing there is damaged. */
  async expectCopies(count: number): Promise<void> {
    await this.using(this.target, async (repository) => {
      const snapshots = await readableSnapshots(repository);
      expect(snapshots).toHaveLength(count);
      for (const snapshot of snapshots) {
        const files = this.files.get(snapshot.original ?? snapshot.id)!;
        for (const [name, bytes] of Object.entries(files)) {
          const parts: Uint8Array[] = [];
          const path = join(this.folder, "files", name);
          for await (const part of dump(repository, snapshot, path)) parts.push(part);
          expect(Buffer.concat(parts).equals(bytes), `${snapshot.id} ${name}`).toBe(true);
        }
      }
      const report = await check(repository, { readData: { kind: "all" } });
      expect(report.errors).toEqual([]);
    });
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

test("copies keep what a snapshot says, deltas stay deltas, and a second run copies nothing", async () => {
  using lab = await CopyLab.create();
  const ids = [await lab.backUp(0), await lab.backUp(1)];
  const first = await lab.copy();
  expect(first.copied.map(({ sourceId }) => sourceId)).toEqual(ids);
  expect(first).toMatchObject({ skipped: 0, failed: [], cutsAlike: true });
  expect(first.chunksDelta).toBeGreaterThan(2);
  await lab.expectCopies(2);

  const [before, after] = await Promise.all([lab.snapshots(lab.source), lab.snapshots()]);
  expect(after.map(({ original }) => original)).toEqual(ids);
  expect(after[1]!.parent).toBe(after[0]!.id);
  const said = ({ time, hostname, paths, tags, summary }: StoredSnapshot) => ({
    time,
    hostname,
    paths,
    tags,
    summary,
  });
  expect(after.map(said)).toEqual(before.map(said));
  expect(after[0]!.tree).not.toBe(before[0]!.tree);

  expect(await lab.copy()).toMatchObject({ copied: [], skipped: 2, bytesRead: 0, bytesStored: 0 });
  // A night later only the night is read: its chunks and their bases.
  await lab.backUp(2);
  const night = await lab.copy();
  expect(night.bytesRead).toBeLessThan(2 * mib);
  expect(night.chunksNew).toBeLessThan(10);
  expect(night.chunksDelta).toBeGreaterThan(2);
  await lab.expectCopies(3);
});

/** Counts reads of packs, and flips a byte of those that hold more than `soundBytes`. */
class LongReadsFlip extends WrappedStorage {
  reads = 0;
  flipped = 0;
  readonly #soundBytes: number;

  constructor(inner: Storage, soundBytes = Infinity) {
    super(inner);
    this.#soundBytes = soundBytes;
  }

  override async get(...args: Parameters<Storage["get"]>) {
    const bytes = await super.get(...args);
    if (args[0] !== "data" || bytes === undefined) return bytes;
    this.reads++;
    if (bytes.length <= this.#soundBytes) return bytes;
    this.flipped++;
    for (let at = 4096; at < bytes.length; at += 8192) bytes[at]! ^= 1;
    return bytes;
  }
}

test("chunks that lie near each other are read together; what arrives damaged is read once more, alone", async () => {
  for (const soundBytes of [Infinity, 600 * kib]) {
    using lab = await CopyLab.create();
    await lab.backUp(0);
    const night = await lab.backUp(1);
    const reads = new LongReadsFlip(lab.source, soundBytes);
    const copies = await lab.using(reads, (source) =>
      lab.using(lab.target, (target) => copySnapshots(source, target)),
    );
    expect(copies).toMatchObject({ failed: [] });
    expect(copies.copied.at(-1)!.sourceId).toBe(night);
    expect(copies.chunksNew).toBeGreaterThan(200);
    if (soundBytes === Infinity) expect(reads.reads).toBeLessThan(70);
    else expect(reads.flipped).toBeGreaterThan(3);
    await lab.expectCopies(2);
  }
});

test("a copy of the newest alone brings the bases of its deltas along", async () => {
  using lab = await CopyLab.create();
  await lab.backUp(0);
  const newest = await lab.backUp(1);
  const summary = await lab.copy({ snapshots: ["latest"] });
  expect(summary.copied.map(({ sourceId }) => sourceId)).toEqual([newest]);
  expect(summary.chunksDelta).toBeGreaterThan(2);
  await lab.expectCopies(1);
});

test("what is cut alike is shared with what hosts back up there; what is not is copied all the same", async () => {
  for (const alike of [true, false]) {
    using lab = await CopyLab.create({ alike });
    await lab.backUp(0);
    const summary = await lab.copy();
    expect(summary.cutsAlike).toBe(alike);
    await lab.expectCopies(1);
    const own = await lab.using(lab.target, (repository) =>
      backup(repository, {
        paths: [join(lab.folder, "files", "disk.img")],
        cwd: lab.folder,
        images: ["**"],
      }),
    );
    lab.files.set(own.snapshotId!, { "disk.img": nights[0]!["disk.img"]! });
    if (alike) expect(own.chunksNew).toBe(0);
    else expect(own.chunksNew).toBeGreaterThan(50);
    await lab.expectCopies(2);
  }
});

test("filters choose, a dry run writes nothing, a copy back is known, and into itself is refused", async () => {
  using lab = await CopyLab.create();
  await lab.backUp(0);
  const second = await lab.backUp(1);
  const objects = await lab.snapshots();
  const plan = await lab.copy({ filter: { tags: ["night 1"] }, dryRun: true });
  expect(plan.copied).toEqual([{ sourceId: second, targetId: undefined }]);
  expect(await lab.snapshots()).toEqual(objects);
  expect((await lab.copy({ filter: { hosts: ["other"] } })).copied).toEqual([]);
  await lab.copy({ filter: { tags: ["night 1"] } });
  await lab.expectCopies(1);
  const back = await lab.using(lab.target, (source) =>
    lab.using(lab.source, (target) => copySnapshots(source, target)),
  );
  expect(back).toMatchObject({ copied: [], skipped: 1 });
  await expect(
    lab.using(lab.source, (one) => lab.using(lab.source, (same) => copySnapshots(one, same))),
  ).rejects.toThrow(UsageError);
});

/** So that what one marks the next may sweep, a minute later. */
const pruning = {
  graceMs: 1,
  maxUnused: { kind: "percent", percent: 0 },
  maxRepackBytes: Infinity,
} as const;

test("a source that forgets and prunes meanwhile loses nothing of what is being copied", async () => {
  using lab = await CopyLab.create();
  const ids = [await lab.backUp(0), await lab.backUp(1)];
  // A prune before, so that later ones may mark what they have seen.
  await lab.using(lab.source, (repository) => prune(repository, pruning));
  const summary = await lab.copy(
    {},
    {},
    new (class extends WrappedStorage {
      #isFirst = true;
      override async put(...args: Parameters<Storage["put"]>) {
        if (args[0] === "data" && this.#isFirst) {
          this.#isFirst = false;
          const at = lab.nowMs;
          await lab.using(lab.source, (repository) =>
            forget(repository, { ids, policy: { tags: [] }, groupBy: [] }),
          );
          for (let days = 1; days <= 3; days++) {
            await lab.using(lab.source, (repository) => prune(repository, pruning));
            lab.nowMs = at + days * 60_000;
          }
        }
        return super.put(...args);
      }
    })(lab.target),
  );
  expect(summary.copied).toHaveLength(2);
  await lab.expectCopies(2);
});

test("what had arrived when a copy died is not sent again, but for the last packs", async () => {
  using lab = await CopyLab.create();
  const big = noise("big", 112 * mib);
  await lab.backUp(0, { "disk.img": big });
  const crashing = new CrashingStorage(lab.target, 9, { torn: false });
  await expect(lab.copy({}, {}, crashing)).rejects.toThrow();
  expect(await lab.snapshots()).toEqual([]);
  const arrived = await storedBytes(lab.target);
  expect(arrived).toBeGreaterThan(80 * mib);
  const rest = await lab.copy();
  expect(arrived + rest.bytesStored).toBeLessThan((112 + 64) * mib);
  await lab.expectCopies(1);
});

async function storedBytes(storage: Storage): Promise<number> {
  let bytes = 0;
  for await (const { size } of storage.list("data")) bytes += size;
  return bytes;
}

test("a snapshot that is damaged in the source is named, and the others are copied", async () => {
  using lab = await CopyLab.create();
  await lab.backUp(0);
  // Another disk, in packs of its own.
  writeFileSync(join(lab.folder, "other"), noise("other", 3 * mib));
  const before = new Set<string>();
  for await (const { name } of lab.source.list("data")) before.add(name);
  const hurt = await lab.using(lab.source, (repository) =>
    backup(repository, { paths: [join(lab.folder, "other")], cwd: lab.folder }),
  );
  for await (const { name, size } of lab.source.list("data")) {
    if (!before.has(name) && size > mib) await lab.source.delete("data", name);
  }
  const warnings: string[] = [];
  const summary = await lab.copy({}, { onWarning: (text) => warnings.push(text) });
  expect(summary.copied).toHaveLength(1);
  expect(summary.failed.map(({ sourceId }) => sourceId)).toEqual([hurt.snapshotId]);
  expect(warnings[0]).toContain("is not copied: ");
  await lab.expectCopies(1);
});

test.each([
  { name: "between two calls", torn: false },
  { name: "with a call done and not heard of", torn: true },
])(
  "a copy that dies $name leaves a sound target, and the next run ends it",
  { timeout: 180_000 },
  async ({ torn }) => {
    using lab = await CopyLab.create();
    for (const night of [0, 1]) {
      const small = {
        "disk.img": disk(night * 3).subarray(0, 3 * mib),
        "tree/kept": noise("k", 900),
        "tree/letter": noise(`l ${night}`, 900),
      };
      await lab.backUp(night, small);
    }
    const begin = lab.target;
    for (let survive = 0; ; survive++) {
      lab.target = begin.copy();
      rmSync(join(lab.folder, "cache"), { recursive: true, force: true });
      const crashing = new CrashingStorage(lab.target, survive, { torn });
      await lab.copy({}, {}, crashing).catch(() => undefined);
      if (!crashing.hasCrashed) break;
      await lab.expectCopies((await lab.snapshots()).length);
      const rest = await lab.copy();
      expect(rest.failed).toEqual([]);
      await lab.expectCopies(2);
      expect(survive).toBeLessThan(60);
    }
  },
);
