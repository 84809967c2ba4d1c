/**
 * Remembers which object of index/ is of which kind, so that `snapshots` need not look into every
 * index object again. A hint: lost, damaged or stale, it is made anew.
 */
import { LocalHints } from "./local-hints.ts";
import type { Repository } from "./repository.ts";

type CachedKind = "index" | "mark" | "verdict" | "census" | "forget";
const cachedKinds: readonly string[] = [
  "index",
  "mark",
  "verdict",
  "census",
  "forget",
] satisfies CachedKind[];
const hintName = "object-kinds.json";

export class KindCache {
  readonly #hints: LocalHints;
  readonly #before: ReadonlyMap<string, CachedKind>;
  readonly #after = new Map<string, CachedKind>();

  private constructor(hints: LocalHints, before: ReadonlyMap<string, CachedKind>) {
    this.#hints = hints;
    this.#before = before;
  }

  static async load(repository: Repository): Promise<KindCache> {
    const hints = new LocalHints(repository.environment, repository.idHex);
    return new KindCache(hints, parseKinds((await hints.read(hintName)) ?? "{}"));
  }

  /** Index objects that this run has put itself need not be looked into. */
  static async add(repository: Repository, indexObjects: readonly string[]): Promise<void> {
    const cache = await KindCache.load(repository);
    for (const [name, kind] of cache.#before) cache.set(name, kind);
    for (const name of indexObjects) cache.set(name, "index");
    await cache.save();
  }

  get(name: string): CachedKind | undefined {
    return this.#before.get(name);
  }

  set(name: string, kind: CachedKind): void {
    this.#after.set(name, kind);
  }

  /** Keeps only the objects that were seen this time. */
  async save(): Promise<void> {
    const isUnchanged =
      this.#after.size === this.#before.size &&
      [...this.#after.keys()].every((name) => this.#before.has(name));
    if (!isUnchanged)
      await this.#hints.write(hintName, JSON.stringify(Object.fromEntries(this.#after)));
  }
}

function parseKinds(text: string): Map<string, CachedKind> {
  try {
    const value: unknown = JSON.parse(text);
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
