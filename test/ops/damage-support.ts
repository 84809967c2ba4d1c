/** A small repository in memory with two backups of an image and a tree, to be damaged. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fixedRandom } from "../support/fixed-random.ts";
import { MemoryStorage } from "../support/storage-memory.ts";
import { systemRandom } from "../../src/crypto/index.ts";
import {
  addKey,
  backup,
  type Credential,
  type Environment,
  Repository,
} from "../../src/repo/ops/index.ts";

export const fullKey = keyFile("11");
export const backupKey = keyFile("22");

export class DamageLab implements AsyncDisposable {
  readonly folder = mkdtempSync(join(tmpdir(), "ashlar-damage-"));
  readonly storage = new MemoryStorage();
  readonly warnings: string[] = [];
  nowMs = Date.UTC(2026, 10, 23, 3);
  readonly #open: Repository[] = [];
  #caches = 0;

  /** With a tree and an image backed up twice, a change between. */
  static async create(): Promise<DamageLab> {
    const lab = new DamageLab();
    const repository = await Repository.create(lab.storage, fullKey, lab.environment());
    lab.fullSlot = repository.slotName;
    await addKey(repository, { role: "backup", credential: backupKey, label: "web1" });
    await repository.close();
    const [card] = (await (await lab.open()).writerRegistry()).cards.filter(
      ({ label }) => label === "web1",
    );
    lab.unusedCard = card!.objectName;
    lab.writeSource();
    await lab.backup();
    writeFileSync(join(lab.source, "docs", "letter.txt"), "the second letter");
    lab.nowMs += 86_400_000;
    await lab.backup();
    return lab;
  }

  get source(): string {
    return join(this.folder, "source");
  }

  writeSource(): void {
    mkdirSync(join(this.source, "docs"), { recursive: true });
    writeFileSync(join(this.source, "docs", "letter.txt"), "the first letter");
    writeFileSync(join(this.source, "docs", "noise.bin"), fixedRandom("noise").bytes(300_000));
    writeFileSync(join(this.source, "keep.txt"), "untouched by all of this");
    writeFileSync(join(this.source, "disk.img"), fixedRandom("disk").bytes(900_000));
  }

  environment(cache = "shared"): Environment {
    return {
      clock: { now: () => this.nowMs, elapsed: () => this.nowMs },
      random: systemRandom,
      hostname: "lab",
      user: { name: "tester", uid: 0, gid: 0 },
      process: undefined,
      lanes: 0,
      cacheDir: join(this.folder, cache),
      tool: "ashlar test",
      warn: (text) => this.warnings.push(text),
      note: () => undefined,
    };
  }

  /** Name of the slot that `fullKey` opens. */
  fullSlot = "";
  /** Name of the card of a key that has signed nothing yet. */
  unusedCard = "";

  /** @param cache  another name is another host, which remembers nothing */
  async open(
    credential: Credential = fullKey,
    cache = `fresh${++this.#caches}`,
  ): Promise<Repository> {
    return this.openOn(this.storage, credential, cache);
  }

  /** Another state of the same repository. */
  async openOn(
    storage: MemoryStorage,
    credential: Credential = fullKey,
    cache = `fresh${++this.#caches}`,
  ): Promise<Repository> {
    const repository = await Repository.open(storage, credential, this.environment(cache));
    this.#open.push(repository);
    return repository;
  }

  async backup(credential: Credential = fullKey): Promise<string> {
    const repository = await this.open(credential, "shared");
    const { snapshotId } = await backup(repository, {
      paths: [this.source],
      cwd: this.folder,
      images: ["**/*.img"],
    });
    return snapshotId!;
  }

  async names(kind: Parameters<MemoryStorage["list"]>[0]): Promise<string[]> {
    const names: string[] = [];
    for await (const { name } of this.storage.list(kind)) names.push(name);
    return names;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const repository of this.#open) await repository.close();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export function flipAt(position: (length: number) => number): (bytes: Uint8Array) => Uint8Array {
  return (bytes) => {
    const at = position(bytes.length);
    bytes[at] = bytes[at]! ^ 1;
    return bytes;
  };
}

function keyFile(byte: string): Credential {
  return { kind: "keyFile", text: `ashlar-key-v1 ${byte.repeat(32)}\n` };
}
