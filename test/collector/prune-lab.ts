/** Small repositories for the collector: hosts that back up disks, and whether each night still comes back. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect } from "vitest";
import {
  backup,
  check,
  type Credential,
  dump,
  type Environment,
  forget,
  prune,
  type PruneOptions,
  type PruneSummary,
  readableSnapshots,
  Repository,
} from "../../src/repo/ops/index.ts";
import type { Storage } from "../../src/storage/index.ts";
import { fixedRandom } from "../support/fixed-random.ts";
import { MemoryStorage } from "../support/storage-memory.ts";

const fullKey: Credential = { kind: "keyFile", text: `ashlar-key-v1 ${"11".repeat(32)}\n` };
export const hour = 3_600_000;
export const day = 24 * hour;

export const daily: PruneOptions = {
  graceMs: day,
  maxUnused: { kind: "percent", percent: 5 },
  maxRepackBytes: Infinity,
};
export const atOnce: PruneOptions = {
  ...daily,
  graceMs: 0,
  maxUnused: { kind: "bytes", bytes: 0 },
};

/** Every operation opens the repository anew, as each run of the program does. */
export class PruneLab implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), "ashlar-prune-"));
  storage: MemoryStorage;
  readonly warnings: string[] = [];
  /** What each committed snapshot must give back. */
  readonly committed = new Map<string, { readonly path: string; readonly bytes: Uint8Array }>();
  nowMs = Date.UTC(2026, 10, 23, 3);
  /** What every run that is at work does every few minutes: refresh its session. */
  readonly timers = new Set<() => void>();
  #runs = 0;

  private constructor(storage: MemoryStorage) {
    this.storage = storage;
  }

  static async create(storage = new MemoryStorage()): Promise<PruneLab> {
    const lab = new PruneLab(storage);
    await (await Repository.create(lab.storage, fullKey, lab.environment("host"))).close();
    return lab;
  }

  /** The same in every test run: where a disk is cut depends on the repository's key. */
  environment(hostname: string): Environment {
    const run = this.#runs++;
    return {
      clock: {
        now: () => this.nowMs,
        elapsed: () => this.nowMs,
        every: (_, act) => {
          this.timers.add(act);
          return () => this.timers.delete(act);
        },
      },
      random: fixedRandom(`${hostname} ${run}`),
      hostname,
      user: { name: "tester", uid: 0, gid: 0 },
      process: undefined,
      lanes: 0,
      cacheDir: join(this.folder, `cache ${hostname} ${run}`),
      tool: "ashlar test",
      warn: (text) => this.warnings.push(text),
      note: () => undefined,
    };
  }

  open(hostname = "host", storage: Storage = this.storage): Promise<Repository> {
    return Repository.open(storage, fullKey, this.environment(hostname));
  }

  /** @returns the path of a disk image with these bytes */
  writeDisk(hostname: string, bytes: Uint8Array): string {
    const path = join(this.folder, hostname, "disk.img");
    mkdirSync(join(this.folder, hostname), { recursive: true });
    writeFileSync(path, bytes);
    return path;
  }

  /** @returns the snapshot's id */
  async backup(bytes: Uint8Array, hostname = "host", storage?: Storage): Promise<string> {
    const path = this.writeDisk(hostname, bytes);
    const repository = await this.open(hostname, storage);
    try {
      const options = { paths: [path], cwd: this.folder, images: ["**/*.img"] };
      const { snapshotId } = await backup(repository, options);
      this.committed.set(snapshotId!, { path, bytes });
      return snapshotId!;
    } finally {
      await repository.close();
    }
  }

  async forget(ids: readonly string[], storage?: Storage): Promise<void> {
    for (const id of ids) this.committed.delete(id);
    const repository = await this.open("admin", storage);
    try {
      await forget(repository, { ids, policy: { tags: [] }, groupBy: [] });
    } finally {
      await repository.close();
    }
  }

  async prune(options: PruneOptions = daily, storage?: Storage): Promise<PruneSummary> {
    const repository = await this.open("admin", storage);
    try {
      return await prune(repository, options);
    } finally {
      await repository.close();
    }
  }

  async names(kind: Parameters<Storage["list"]>[0]): Promise<string[]> {
    const names: string[] = [];
    for await (const { name } of this.storage.list(kind)) names.push(name);
    return names.sort();
  }

  async storedBytes(): Promise<number> {
    let bytes = 0;
    for await (const { size } of this.storage.list("data")) bytes += size;
    return bytes;
  }

  /** I2: every committed snapshot is there and comes back byte for byte. */
  async expectAllRestore(): Promise<void> {
    const repository = await this.open("reader");
    try {
      const snapshots = await readableSnapshots(repository);
      expect(snapshots.map(({ id }) => id)).toEqual(
        expect.arrayContaining([...this.committed.keys()]),
      );
      for (const snapshot of snapshots) {
        const known = this.committed.get(snapshot.id);
        const path = known?.path ?? snapshot.paths[0]!;
        const parts: Uint8Array[] = [];
        for await (const part of dump(repository, snapshot, path)) parts.push(part);
        if (known !== undefined)
          expect(Buffer.concat(parts).equals(known.bytes), snapshot.id.slice(0, 8)).toBe(true);
      }
    } finally {
      await repository.close();
    }
  }

  async expectSound(): Promise<void> {
    await this.expectAllRestore();
    const repository = await this.open("checker");
    try {
      const report = await check(repository, { readData: { kind: "all" } });
      expect(report.errors).toEqual([]);
    } finally {
      await repository.close();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    rmSync(this.folder, { recursive: true, force: true });
    return Promise.resolve();
  }
}

/** A disk of so many blocks of 4 KiB that no two disks share, unless their seeds are the same. */
export function disk(seed: string, blocks = 64): Uint8Array {
  return fixedRandom(seed).bytes(blocks * 4096);
}

/** With a few bytes changed: what deltas are for. */
export function touched(bytes: Uint8Array, block: number, value = 1): Uint8Array {
  const next = bytes.slice();
  next[block * 4096 + 100] = next[block * 4096 + 100]! ^ value;
  return next;
}

/** With blocks from another disk: chunks of their own. */
export function patched(bytes: Uint8Array, from: number, patch: Uint8Array): Uint8Array {
  const next = bytes.slice();
  next.set(patch, from * 4096);
  return next;
}
