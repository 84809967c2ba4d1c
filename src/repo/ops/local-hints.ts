/**
 * Small notes that a host keeps for itself in its cache folder: hints that save time, and what it
 * remembers of its own last snapshot. Lost or damaged, they count as absent.
 */
import { mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { toHex } from "../../bytes.ts";
import type { Environment } from "./environment.ts";

export class LocalHints {
  readonly #environment: Pick<Environment, "cacheDir" | "random">;
  readonly #folder: string | undefined;

  /** @param repository  its id, 32 hexadecimal digits */
  constructor(environment: Pick<Environment, "cacheDir" | "random">, repository: string) {
    this.#environment = environment;
    this.#folder =
      environment.cacheDir === undefined ? undefined : join(environment.cacheDir, repository);
  }

  async read(name: string): Promise<string | undefined> {
    if (this.#folder === undefined) return undefined;
    try {
      return await readFile(join(this.#folder, name), "utf8");
    } catch {
      return undefined;
    }
  }

  /** @returns false when it could not be kept: that is no failure, the next run does without */
  async write(name: string, text: string): Promise<boolean> {
    if (this.#folder === undefined) return false;
    const path = join(this.#folder, name);
    const temporary = `${path}.${toHex(this.#environment.random.bytes(8))}`;
    try {
      await mkdir(this.#folder, { recursive: true, mode: 0o700 });
      await writeFile(temporary, text, { mode: 0o600 });
      await rename(temporary, path);
      return true;
    } catch {
      await rm(temporary, { force: true }).catch(() => undefined);
      return false;
    }
  }
}
