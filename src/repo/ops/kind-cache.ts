/**
 * Remembers which object of index/ is of which kind, so that `snapshots` need not look into every
 * index object again. A hint in the cache folder: lost, damaged or stale, it is made anew.
 */
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { toHex } from "../../bytes.ts";
import type { Repository } from "./repository.ts";

type CachedKind = "index" | "mark" | "verdict" | "census" | "forget";
const cachedKinds: readonly string[] = [
  "index",
  "mark",
  "verdict",
  "census",
  "forget",
] satisfies CachedKind[];

export class KindCache {
  readonly #path: string | undefined;
  readonly #temporary: string | undefined;
  readonly #before: ReadonlyMap<string, CachedKind>;
  readonly #after = new Map<string, CachedKind>();

  private constructor(
    path: string | undefined,
    temporary: string | undefined,
    before: ReadonlyMap<string, CachedKind>,
  ) {
    this.#path = path;
    this.#temporary = temporary;
    this.#before = before;
  }

  static async load(repository: Repository): Promise<KindCache> {
    const { cacheDir, random } = repository.environment;
    if (cacheDir === undefined) return new KindCache(undefined, undefined, new Map());
    const folder = join(cacheDir, repository.idHex);
    const path = join(folder, "object-kinds.json");
    await mkdir(folder, { recursive: true, mode: 0o700 }).catch(() => undefined);
    return new KindCache(path, `${path}.${toHex(random.bytes(8))}`, await readKinds(path));
  }

  get(name: string): CachedKind | undefined {
    return this.#before.get(name);
  }

  set(name: string, kind: CachedKind): void {
    this.#after.set(name, kind);
  }

  /** Keeps only the objects that were seen this time. A cache that cannot be written is no failure. */
  async save(): Promise<void> {
    if (this.#path === undefined || this.#temporary === undefined || this.#isUnchanged()) return;
    try {
      await writeFile(this.#temporary, JSON.stringify(Object.fromEntries(this.#after)), {
        mode: 0o600,
      });
      await rename(this.#temporary, this.#path);
    } catch {
      // The next run looks again.
    }
  }

  #isUnchanged(): boolean {
    return (
      this.#after.size === this.#before.size &&
      [...this.#after.keys()].every((name) => this.#before.has(name))
    );
  }
}

async function readKinds(path: string): Promise<Map<string, CachedKind>> {
  try {
    const value: unknown = JSON.parse(await readFile(path, "utf8"));
    if (typeof value !== "object" || value === null) return new Map();
    const entries = Object.entries(value).filter(
      (entry): entry is [string, CachedKind] =>
        typeof entry[1] === "string" && cachedKinds.includes(entry[1]),
    );
    return new Map(entries);
  } catch {
    return new Map();
  }
}
