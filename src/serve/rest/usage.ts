/** How much room a repository takes: measured, then counted along; measured anew now and then, since others may change it. */
import { lstat, opendir } from "node:fs/promises";
import { join } from "node:path";
import { Refusal } from "./refusal.ts";

const measureAgainMs = 10 * 60_000;
/** A file takes this at least: who puts a million of a byte each fills the disk as well. */
const blockBytes = 4096;
/** When it seems full, in case something was deleted beside us. */
const measureFullMs = 60_000;

export class Usage {
  readonly #root: string;
  readonly #elapsed: () => number;
  #stored = 0;
  /** Of puts in flight. */
  #reserved = 0;
  /** Ever, in this process: what came while a measurement ran may have been missed by it. */
  #added = 0;
  #measuredAt = -Infinity;
  #measuring: Promise<void> | undefined;

  constructor(root: string, elapsed: () => number) {
    this.#root = root;
    this.#elapsed = elapsed;
  }

  /** To be followed by `settle` with the same `size`. @throws {Refusal} 507 when it would be over the quota */
  async reserve(size: number, quota: number): Promise<void> {
    const bytes = roomOf(size);
    if (quota < Infinity) {
      await this.#measureAfter(measureAgainMs);
      if (this.#wouldHold(bytes) > quota) await this.#measureAfter(measureFullMs);
      if (this.#wouldHold(bytes) > quota) throw new Refusal(507, "the quota is used up");
    }
    this.#reserved += bytes;
  }

  /** @param stored  its size; undefined when it was not stored */
  settle(reserved: number, stored: number | undefined): void {
    const bytes = stored === undefined ? 0 : roomOf(stored);
    this.#reserved -= roomOf(reserved);
    this.#stored += bytes;
    this.#added += bytes;
  }

  remove(size: number): void {
    this.#stored = Math.max(0, this.#stored - roomOf(size));
  }

  #wouldHold(bytes: number): number {
    return this.#stored + this.#reserved + bytes;
  }

  async #measureAfter(ageMs: number): Promise<void> {
    if (this.#elapsed() - this.#measuredAt < ageMs) return;
    this.#measuring ??= this.#measure().finally(() => {
      this.#measuring = undefined;
    });
    await this.#measuring;
  }

  async #measure(): Promise<void> {
    const before = this.#added;
    const bytes = await bytesBelow(this.#root, 2);
    this.#stored = bytes + this.#added - before;
    this.#measuredAt = this.#elapsed();
  }
}

function roomOf(size: number): number {
  return Math.max(1, Math.ceil(size / blockBytes)) * blockBytes;
}

/** Files only; symlinks are not followed. */
async function bytesBelow(folder: string, depth: number): Promise<number> {
  let bytes = 0;
  const entries = await opendir(folder).catch(() => undefined);
  if (entries === undefined) return 0;
  for await (const entry of entries) {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) bytes += depth > 0 ? await bytesBelow(path, depth - 1) : 0;
    else if (entry.isFile()) bytes += roomOf((await lstat(path).catch(() => undefined))?.size ?? 0);
  }
  return bytes;
}
