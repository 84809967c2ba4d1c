/** One backup into several repositories: one reading, a snapshot in each, and no failure that spreads. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { BackendError, UsageError } from "../../src/errors.ts";
import {
  type BackupOptions,
  backupTogether,
  check,
  copySnapshots,
  type Credential,
  dump,
  type Environment,
  readableSnapshots,
  Repository,
} from "../../src/repo/ops/index.ts";
import { SharedSource } from "../../src/repo/ops/backup/shared-source.ts";
import type { Storage } from "../../src/storage/index.ts";
import { fixedRandom } from "../support/fixed-random.ts";
import { FullStorage } from "../support/storage-faults.ts";
import { MemoryStorage } from "../support/storage-memory.ts";
import { mib, noise } from "./restore-support.ts";

const key: Credential = { kind: "keyFile", text: `ashlar-key-v1 ${"55".repeat(32)}\n` };

class PairLab implements Disposable {
  readonly folder = mkdtempSync(join(tmpdir(), "ashlar-pair-"));
  readonly storages = [new MemoryStorage(), new MemoryStorage()];
  #runs = 0;
  #nowMs = Date.UTC(2026, 10, 23, 3);

  static async create(): Promise<PairLab> {
    const lab = new PairLab();
    let first: Repository | undefined;
    for (const storage of lab.storages) {
      const made = await Repository.create(storage, key, lab.environment(), first);
      first ??= made;
    }
    await first?.close();
    mkdirSync(join(lab.folder, "files"));
    writeFileSync(join(lab.folder, "files", "disk.img"), noise("disk", 30 * mib));
    writeFileSync(join(lab.folder, "files", "letter"), "text");
    return lab;
  }

  environment(): Environment {
    this.#nowMs += 60_000;
    const now = this.#nowMs;
    return {
      clock: { now: () => now, elapsed: () => now },
      random: fixedRandom(`pair ${this.#runs++}`),
      hostname: "host",
      user: { name: "tester", uid: 0, gid: 0 },
      process: undefined,
      lanes: 0,
      cacheDir: join(this.folder, "cache"),
      tool: "ashlar test",
      warn: () => undefined,
      note: () => undefined,
    };
  }

  async backUp(options: Partial<BackupOptions> = {}, storages: readonly Storage[] = this.storages) {
    const repositories = [];
    for (const storage of storages)
      repositories.push(await Repository.open(storage, key, this.environment()));
    try {
      return await backupTogether(
        repositories,
        { paths: [join(this.folder, "files")], cwd: this.folder, images: ["**/*.img"], ...options },
        () => ({}),
      );
    } finally {
      for (const repository of repositories) await repository.close();
    }
  }

  async expectSound(storage: Storage, path: string, bytes: Uint8Array): Promise<void> {
    const repository = await Repository.open(storage, key, this.environment());
    const snapshot = (await readableSnapshots(repository)).at(-1)!;
    const parts: Uint8Array[] = [];
    for await (const part of dump(repository, snapshot, path)) parts.push(part);
    expect(Buffer.concat(parts).equals(bytes)).toBe(true);
    const report = await check(repository, { readData: { kind: "all" } });
    expect(report.errors).toEqual([]);
    await repository.close();
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

test("each repository has the snapshot, of one time, and a copy between them finds it there", async () => {
  using lab = await PairLab.create();
  const outcomes = await lab.backUp();
  expect(outcomes.map((outcome) => "summary" in outcome && outcome.summary.isIncomplete)).toEqual([
    false,
    false,
  ]);
  const disk = join(lab.folder, "files", "disk.img");
  for (const storage of lab.storages) await lab.expectSound(storage, disk, readFileSync(disk));
  const [source, target] = await Promise.all(
    lab.storages.map((storage) => Repository.open(storage, key, lab.environment())),
  );
  expect(await copySnapshots(source!, target!)).toMatchObject({ copied: [], skipped: 1 });
  await source!.close();
  await target!.close();
});

test("a stream is read once for both, and is told to stop when none wants it any more", async () => {
  using lab = await PairLab.create();
  const bytes = noise("stream", 9 * mib);
  let reads = 0;
  let finished = 0;
  async function* source(bytes: Uint8Array) {
    for (let at = 0; at < bytes.length; at += mib) {
      reads++;
      await Promise.resolve();
      yield bytes.subarray(at, at + mib);
    }
  }
  const stream = (of: Uint8Array, more: object = {}) => ({
    paths: [],
    stream: {
      filename: "dump",
      bytes: source(of),
      finished: () => {
        finished++;
        return Promise.resolve();
      },
      ...more,
    },
  });
  await lab.backUp(stream(bytes));
  expect([reads, finished]).toEqual([9, 1]);
  for (const storage of lab.storages) await lab.expectSound(storage, "/dump", bytes);

  let cancelled = 0;
  const failing = lab.storages.map((storage) => new FullStorage(storage, 3 * mib));
  const outcomes = await lab.backUp(
    stream(noise("other", 9 * mib), { cancel: () => cancelled++ }),
    failing,
  );
  expect(outcomes.every((outcome) => "error" in outcome)).toBe(true);
  expect(cancelled).toBe(1);
});

test.each([0, 1])("repository %i that fills up does not stop the other", async (full) => {
  using lab = await PairLab.create();
  const storages = lab.storages.map((storage, index) =>
    index === full ? new FullStorage(storage, 2 * mib) : storage,
  );
  const outcomes = await lab.backUp({}, storages);
  const failed = outcomes[full]!;
  expect("error" in failed && failed.error).toBeInstanceOf(BackendError);
  const disk = join(lab.folder, "files", "disk.img");
  await lab.expectSound(lab.storages[1 - full]!, disk, readFileSync(disk));
});

test("one parent cannot be named for several, nor one repository twice", async () => {
  using lab = await PairLab.create();
  await expect(lab.backUp({ parent: "latest" })).rejects.toThrow(UsageError);
  const [storage] = lab.storages;
  await expect(lab.backUp({}, [storage!, storage!])).rejects.toThrow("the same repository");
});

test("a run waits while another lies far behind in the same image, and for none that has left", async () => {
  const shared = new SharedSource(3);
  const [a, b, c] = [0, 1, 2].map((party) => {
    const entries = shared.party(party).entries(() => images());
    return { ...shared.party(party), next: () => entries[Symbol.asyncIterator]().next() };
  });
  async function* images() {
    await Promise.resolve();
    yield "image";
  }
  await Promise.all([a!.next(), b!.next(), c!.next()]);
  const passed: number[] = [];
  const ahead = (async () => {
    for (const index of [0, 16, 17, 40]) {
      await a!.atSegment(index);
      passed.push(index);
    }
  })();
  await new Promise(setImmediate);
  expect(passed).toEqual([0, 16]);
  const behind = b!.atSegment(30);
  await c!.atSegment(1);
  await new Promise(setImmediate);
  expect(passed).toEqual([0, 16, 17]);
  shared.leave(2);
  await Promise.all([ahead, behind]);
  expect(passed).toEqual([0, 16, 17, 40]);
});
