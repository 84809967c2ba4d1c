/** Remembers in the cache folder which packs were read and found good, and when. A hint: lost, all count as never. */
import { LocalHints } from "../local-hints.ts";
import type { Repository } from "../repository.ts";

const hintName = "verified-packs.json";

export class VerifiedPacks {
  readonly #hints: LocalHints;
  readonly #times: Map<string, number>;

  private constructor(hints: LocalHints, times: Map<string, number>) {
    this.#hints = hints;
    this.#times = times;
  }

  static async load({ environment, idHex }: Repository): Promise<VerifiedPacks> {
    const hints = new LocalHints(environment, idHex);
    return new VerifiedPacks(hints, parseTimes((await hints.read(hintName)) ?? "{}"));
  }

  get times(): ReadonlyMap<string, number> {
    return this.#times;
  }

  add(pack: string, timeMs: number): void {
    this.#times.set(pack, timeMs);
  }

  drop(pack: string): void {
    this.#times.delete(pack);
  }

  /** Forgets packs that are gone. */
  async save(listed: ReadonlyMap<string, unknown>): Promise<void> {
    for (const name of this.#times.keys()) if (!listed.has(name)) this.#times.delete(name);
    await this.#hints.write(hintName, JSON.stringify(Object.fromEntries(this.#times)));
  }
}

function parseTimes(text: string): Map<string, number> {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== "object" || value === null) return new Map();
    const entries = Object.entries(value);
    return new Map(
      entries.filter((entry): entry is [string, number] => typeof entry[1] === "number"),
    );
  } catch {
    return new Map();
  }
}
