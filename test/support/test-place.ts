/** A folder with a real repository in it, for tests of operations; everything in one process. */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  backup,
  createStorage,
  encodeKeyFile,
  type BackupOptions,
  type BackupSummary,
  type Environment,
  openStorage,
  Repository,
} from "../../src/repo/index.ts";
import type { Storage } from "../../src/storage/index.ts";
import { fixedRandom } from "./fixed-random.ts";

export const credential = {
  kind: "keyFile",
  text: encodeKeyFile(fixedRandom("key file").bytes(32)),
} as const;

export class TestPlace implements AsyncDisposable {
  readonly folder: string;
  readonly warnings: string[] = [];
  readonly #seed: string;
  #runs = 0;
  #open: Repository[] = [];

  private constructor(seed: string) {
    this.folder = mkdtempSync(join(tmpdir(), "ashlar-ops-"));
    this.#seed = seed;
    mkdirSync(this.path("source"));
  }

  static async create(seed = "place"): Promise<TestPlace> {
    const place = new TestPlace(seed);
    const storage = await createStorage(place.path("repo"));
    const repository = await Repository.create(storage, credential, place.environment());
    await repository.close();
    return place;
  }

  path(...parts: string[]): string {
    return join(this.folder, ...parts);
  }

  /** A fresh opening, as another run of the program would have; closed with the place. */
  async repository(
    environment: Partial<Environment> = {},
    wrap: (storage: Storage) => Storage = (storage) => storage,
  ): Promise<Repository> {
    const storage = wrap(await openStorage(this.path("repo")));
    const repository = await Repository.open(storage, credential, {
      ...this.environment(),
      ...environment,
    });
    this.#open.push(repository);
    return repository;
  }

  async backup(paths: readonly string[], options: Partial<BackupOptions> = {}) {
    const repository = await this.repository();
    const summary: BackupSummary = await backup(repository, {
      paths,
      cwd: this.folder,
      ...options,
    });
    return summary.snapshotId!;
  }

  environment(): Environment {
    const started = performance.now();
    return {
      clock: { now: () => Date.now(), elapsed: () => performance.now() - started },
      random: fixedRandom(`${this.#seed} ${this.#runs++}`),
      hostname: "testhost",
      user: { name: "tester", uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 },
      process: undefined,
      lanes: 0,
      cacheDir: this.path("cache"),
      tool: "ashlar test",
      warn: (text) => {
        this.warnings.push(text);
      },
      note: () => undefined,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const repository of this.#open) await repository.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
