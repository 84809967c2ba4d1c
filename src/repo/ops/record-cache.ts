/**
 * Sealed snapshots and marks as they are stored, kept on this host: each is fetched once. They never
 * change, and a copy that is not what its name says counts as absent. `check` reads the storage itself.
 */
import { mkdir, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { toHex } from "../../bytes.ts";
import type { ObjectKind } from "../../storage/index.ts";
import type { Repository } from "./repository.ts";
import { sha256 } from "./sealed-records.ts";

export class RecordCache {
  readonly #repository: Repository;
  readonly #folder: string | undefined;
  readonly #used = new Set<string>();

  constructor(repository: Repository) {
    const { cacheDir } = repository.environment;
    this.#repository = repository;
    this.#folder = cacheDir === undefined ? undefined : join(cacheDir, repository.idHex, "records");
  }

  /** From here, or else from the storage. */
  async get(kind: ObjectKind, name: string): Promise<Uint8Array | undefined> {
    this.#used.add(name);
    const kept = await this.#read(name);
    if (kept !== undefined) return kept;
    const stored = await this.#repository.storage.get(kind, name);
    if (stored !== undefined && sha256(stored) === name) await this.#write(name, stored);
    return stored;
  }

  /** Drops what was not asked for: it is gone from the storage. */
  async tidyUp(): Promise<void> {
    if (this.#folder === undefined) return;
    const names = await readdir(this.#folder).catch(() => []);
    for (const name of names)
      if (!this.#used.has(name)) await rm(join(this.#folder, name), { force: true });
  }

  async #read(name: string): Promise<Uint8Array | undefined> {
    if (this.#folder === undefined) return undefined;
    const bytes = await readFile(join(this.#folder, name)).catch(() => undefined);
    return bytes !== undefined && sha256(bytes) === name ? bytes : undefined;
  }

  /** Without a cache the next run fetches again: no reason to fail. */
  async #write(name: string, bytes: Uint8Array): Promise<void> {
    if (this.#folder === undefined) return;
    const path = join(this.#folder, name);
    const temporary = `${path}.${toHex(this.#repository.environment.random.bytes(8))}`;
    try {
      await mkdir(this.#folder, { recursive: true, mode: 0o700 });
      await writeFile(temporary, bytes, { mode: 0o600 });
      await rename(temporary, path);
    } catch {
      await rm(temporary, { force: true }).catch(() => undefined);
    }
  }
}
