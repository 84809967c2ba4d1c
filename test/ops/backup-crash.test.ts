/** Backups on storage that dies, fills up, stumbles or rots: no committed snapshot is ever hurt. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { BackendError, CorruptionError } from "../../src/errors.ts";
import {
  backup,
  check,
  type Credential,
  dump,
  type Environment,
  readableSnapshots,
  Repository,
} from "../../src/repo/ops/index.ts";
import type { ObjectKind, Storage } from "../../src/storage/index.ts";
import { RetryingStorage } from "../../src/storage/retrying.ts";
import { fixedRandom } from "../support/fixed-random.ts";
import { WrappedStorage } from "../../src/storage/wrapped.ts";
import {
  CrashingStorage,
  FlakyStorage,
  FlippingStorage,
  FullStorage,
} from "../support/storage-faults.ts";
import { MemoryStorage } from "../support/storage-memory.ts";
import { kib, mib, noise } from "./restore-support.ts";

const fullKey: Credential = { kind: "keyFile", text: `ashlar-key-v1 ${"33".repeat(32)}\n` };
type Files = Readonly<Record<string, Uint8Array>>;

/** The second night is of more than one pack. */
const nights: readonly Files[] = [
  {
    "disk.img": noise("disk", 600 * kib),
    "tree/letter": noise("a", 3000),
    "tree/kept": noise("k", 5000),
  },
  {
    "disk.img": Buffer.concat([noise("disk", 600 * kib), noise("grown", 18 * mib)]),
    "tree/letter": noise("b", 3000),
    "tree/kept": noise("k", 5000),
  },
];

class BackupLab implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), "ashlar-crash-"));
  storage = new MemoryStorage();
  /** What each committed snapshot must give back. */
  readonly committed = new Map<string, Files>();
  readonly warnings: string[] = [];
  #runs = 0;

  static async create(): Promise<BackupLab> {
    const lab = new BackupLab();
    await (await Repository.create(lab.storage, fullKey, lab.environment("first"))).close();
    return lab;
  }

  environment(cache: string): Environment {
    const nowMs = Date.UTC(2026, 10, 23, 3) + this.#runs * 60_000;
    return {
      clock: { now: () => nowMs, elapsed: () => nowMs },
      random: fixedRandom(`run ${this.#runs++}`),
      hostname: "host",
      user: { name: "tester", uid: 0, gid: 0 },
      process: undefined,
      lanes: 0,
      cacheDir: join(this.folder, "caches", cache),
      tool: "ashlar test",
      warn: (text) => this.warnings.push(text),
      note: () => undefined,
    };
  }

  async using<T>(
    storage: Storage,
    cache: string,
    use: (repository: Repository) => Promise<T>,
  ): Promise<T> {
    const repository = await Repository.open(storage, fullKey, this.environment(cache));
    try {
      return await use(repository);
    } finally {
      await repository.close();
    }
  }

  path(name: string): string {
    return join(this.folder, "source", name);
  }

  /** The host that backs up keeps its cache, whatever became of its last run. */
  async backUp(files: Files, storage: Storage = this.storage): Promise<string> {
    mkdirSync(this.path("tree"), { recursive: true });
    for (const [name, bytes] of Object.entries(files)) writeFileSync(this.path(name), bytes);
    const options = { paths: [this.path("")], cwd: this.folder, images: ["**/*.img"] };
    const { snapshotId } = await this.using(storage, "host", (repository) =>
      backup(repository, options),
    );
    this.committed.set(snapshotId!, files);
    return snapshotId!;
  }

  /** By a machine that has seen nothing of it before; of a rotten storage, what it warns of may be missing. */
  async expectAllRestore(storage: Storage = this.storage): Promise<void> {
    await this.using(storage, `reader ${this.#runs}`, async (repository) => {
      const warned = this.warnings.length;
      const snapshots = await readableSnapshots(repository);
      const found = snapshots.map(({ id }) => id);
      const missing = [...this.committed.keys()].filter((id) => !found.includes(id));
      if (storage === this.storage || this.warnings.length === warned) expect(missing).toEqual([]);
      for (const snapshot of snapshots) {
        // One that nobody heard of was committed as its run died: it is of the night then stored.
        const files = this.committed.get(snapshot.id) ?? nights[this.committed.size]!;
        this.committed.set(snapshot.id, files);
        for (const [name, bytes] of Object.entries(files)) {
          const parts: Uint8Array[] = [];
          for await (const part of dump(repository, snapshot, this.path(name))) parts.push(part);
          expect(Buffer.concat(parts).equals(bytes), name).toBe(true);
        }
      }
    });
  }

  async expectSound(): Promise<void> {
    await this.expectAllRestore();
    const report = await this.using(this.storage, `checker ${this.#runs}`, (repository) =>
      check(repository, { readData: { kind: "all" } }),
    );
    expect(report.errors).toEqual([]);
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** Both nights on `storage`, from the start; then, whatever came of them, a night that must work. */
async function nightsOn(
  lab: BackupLab,
  begin: MemoryStorage,
  wrap: (inner: MemoryStorage) => Storage,
): Promise<unknown> {
  lab.storage = begin.copy();
  lab.committed.clear();
  rmSync(join(lab.folder, "caches"), { recursive: true, force: true });
  const storage = wrap(lab.storage);
  let failure: unknown;
  try {
    for (const night of nights) await lab.backUp(night, storage);
  } catch (error) {
    failure = error;
  }
  await lab.expectSound();
  if (failure !== undefined) {
    await lab.backUp(nights[1]!);
    await lab.expectSound();
  }
  return failure;
}

test.each([
  { name: "between two calls", torn: false },
  { name: "with a call done and not heard of", torn: true },
])("a run that dies $name", { timeout: 180_000 }, async ({ torn }) => {
  using lab = await BackupLab.create();
  const begin = lab.storage;
  let deaths = 0;
  for (let survive = 0; ; survive++) {
    let crashing: CrashingStorage | undefined;
    await nightsOn(
      lab,
      begin,
      (inner) => (crashing = new CrashingStorage(inner, survive, { torn })),
    );
    if (!crashing!.hasCrashed) break;
    deaths++;
    expect(survive).toBeLessThan(100);
  }
  expect(deaths).toBeGreaterThan(10);
});

/** Notes how much each put brought. */
class SizingStorage extends WrappedStorage {
  readonly sizes: number[] = [];

  override put(...args: Parameters<Storage["put"]>): ReturnType<Storage["put"]> {
    this.sizes.push(args[2].reduce((sum, part) => sum + part.length, 0));
    return super.put(...args);
  }
}

test("a repository that is full, at every object", { timeout: 180_000 }, async () => {
  using lab = await BackupLab.create();
  const begin = lab.storage;
  let sizing: SizingStorage | undefined;
  expect(await nightsOn(lab, begin, (inner) => (sizing = new SizingStorage(inner)))).toBe(
    undefined,
  );
  let room = 0;
  for (const size of sizing!.sizes) {
    room += size;
    const failure = await nightsOn(lab, begin, (inner) => new FullStorage(inner, room - 1));
    if (failure === undefined) continue; // Its last words only, when all was committed.
    expect(failure).toBeInstanceOf(BackendError);
    expect((failure as Error).message).toContain("ENOSPC");
  }
});

test("a storage of which every call fails once", async () => {
  using lab = await BackupLab.create();
  // Closing is the repository's; several runs share what is beneath.
  const Lasting = class extends WrappedStorage {
    override close(): Promise<void> {
      return Promise.resolve();
    }
  };
  const retrying = (inner: Storage) => {
    const storage = new RetryingStorage(new FlakyStorage(inner), {
      delayMsFirst: 1,
      delayMsMax: 1,
      patienceMs: 60_000,
      clock: { now: () => 0 },
      random: () => 0,
      sleep: () => Promise.resolve(),
    });
    return new Lasting(storage);
  };
  expect(await nightsOn(lab, lab.storage, retrying)).toBe(undefined);
  await lab.expectAllRestore(retrying(lab.storage));
});

test.each(["config", "keys", "index", "snapshots", "data", "locks"] satisfies ObjectKind[])(
  "a bit that flips in what is read of %s gives an error or the right bytes, never others",
  { timeout: 120_000 },
  async (kind) => {
    using lab = await BackupLab.create();
    await lab.backUp(nights[0]!);
    const committed = new Map(lab.committed);
    const draw = fixedRandom(`flips ${kind}`);
    const below = (most: number) => new DataView(draw.bytes(4).buffer).getUint32(0, true) % most;
    let flips = 0;
    for (let round = 0; round < 6; round++) {
      const rotten = new FlippingStorage(lab.storage, below, [kind]);
      await lab.expectAllRestore(rotten).catch(expectKnownFault);
      const before = lab.storage;
      lab.storage = before.copy();
      const rottenCopy = new FlippingStorage(lab.storage, below, [kind]);
      rmSync(join(lab.folder, "caches"), { recursive: true, force: true });
      await lab
        .backUp({ ...nights[0]!, "tree/letter": noise(`${round}`, 3000) }, rottenCopy)
        .catch(expectKnownFault);
      await lab.expectSound();
      lab.storage = before;
      lab.committed.clear();
      for (const [id, files] of committed) lab.committed.set(id, files);
      flips += rotten.flips + rottenCopy.flips;
    }
    if (kind !== "locks") expect(flips).toBeGreaterThan(6);
  },
);

function expectKnownFault(error: unknown): void {
  const isOurs =
    error instanceof CorruptionError || (error instanceof Error && "exitCode" in error);
  if (!isOurs) throw error;
}

test("init whose last answer is lost has made its repository, and knows it again", async () => {
  using lab = await BackupLab.create();
  const storage = new (class extends WrappedStorage {
    override async put(...args: Parameters<Storage["put"]>): Promise<"created" | "exists"> {
      const answer = await super.put(...args);
      // As a try after one whose answer was lost.
      return args[0] === "config" ? "exists" : answer;
    }
  })(new MemoryStorage());
  await (await Repository.create(storage, fullKey, lab.environment("lost"))).close();
  await (await Repository.open(storage, fullKey, lab.environment("lost"))).close();
});
