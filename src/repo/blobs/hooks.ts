/**
 * Likeness: for a new chunk, the known chunks that share most of its blocks.
 *
 * Hooks are objects in index/, one for some thousand chunks, read when the first chunk without a useful
 * parent asks, the newest first and within a bound. What this run stores is added to them.
 */
import type { HookList } from "../format/index.ts";
import { getHooks, putHooks, type HookObjectContext } from "./hook-objects.ts";
import { HookTable } from "./hook-table.ts";

export interface HooksOptions extends HookObjectContext {
  /** Names and sizes of the hook objects there are. */
  readonly objects: () => readonly { readonly name: string; readonly size: number }[];
}

export interface Likeness {
  /** The first 8 bytes of the chunk's id, hexadecimal. */
  readonly prefix: string;
  /** Hooks it shares. */
  readonly count: number;
}

/** 32 MiB of table, about 1.2 million hooks: one in 4 blocks of 20 GiB of different data, one in 8 of 40. */
const tableSlotsMost = 1 << 21;
/** Of hook objects that are read. */
const readBytesMost = 64 * 1024 * 1024;
const writeEvery = 1 << 18;
/** A night has few: their room grows from here. */
const roomFirst = 1 << 10;

export class Hooks {
  readonly #options: HooksOptions;
  readonly #table = new HookTable(tableSlotsMost);
  #loading: Promise<void> | undefined;
  /** What is not stored yet. */
  #values = new Uint32Array(2 * roomFirst);
  #prefixes = new Uint32Array(2 * roomFirst);
  #count = 0;
  #writing: Promise<void> = Promise.resolve();

  constructor(options: HooksOptions) {
    this.#options = options;
  }

  /**
   * Known chunks that share hooks, the likest last.
   *
   * @param hooks  pairs of low and high half
   */
  async likest(hooks: Uint32Array): Promise<Likeness[]> {
    this.#loading ??= this.#load();
    await this.#loading;
    const shared = new Map<string, number>();
    for (let at = 0; at < hooks.length; at += 2) {
      const found = this.#table.find(hooks[at]!, hooks[at + 1]!);
      if (found === -1) continue;
      const prefix = prefixHex(this.#table.words[found]!, this.#table.words[found + 1]!);
      shared.set(prefix, (shared.get(prefix) ?? 0) + 1);
    }
    return [...shared]
      .map(([prefix, count]) => ({ prefix, count }))
      .sort((a, b) => a.count - b.count);
  }

  /** Notes a chunk that this run stores; a block that is known keeps its first chunk. */
  async add(hooks: Uint32Array, id: Uint8Array): Promise<void> {
    this.#loading ??= this.#load();
    await this.#loading;
    const view = new DataView(id.buffer, id.byteOffset, 8);
    const low = view.getUint32(0, true);
    const high = view.getUint32(4, true);
    for (let at = 0; at < hooks.length; at += 2) {
      if (!this.#table.add(hooks[at]!, hooks[at + 1]!, low, high)) continue;
      if (2 * this.#count === this.#values.length) this.#grow();
      this.#values.set([hooks[at]!, hooks[at + 1]!], 2 * this.#count);
      this.#prefixes.set([low, high], 2 * this.#count);
      if (++this.#count === writeEvery) await this.write();
    }
  }

  /** Stores what was added since the last time. */
  write(): Promise<void> {
    const list = {
      values: this.#values.slice(0, 2 * this.#count),
      prefixes: this.#prefixes.slice(0, 2 * this.#count),
    };
    this.#count = 0;
    if (list.values.length > 0)
      this.#writing = this.#writing.then(() => putHooks(this.#options, list));
    return this.#writing;
  }

  #grow(): void {
    const [values, prefixes] = [this.#values, this.#prefixes];
    this.#values = new Uint32Array(2 * values.length);
    this.#prefixes = new Uint32Array(2 * prefixes.length);
    this.#values.set(values);
    this.#prefixes.set(prefixes);
  }

  /** The largest first: they stand for the most data. What cannot be opened proposes nothing. */
  async #load(): Promise<void> {
    const objects = [...this.#options.objects()].sort((a, b) => b.size - a.size);
    let bytes = 0;
    for (const { name, size } of objects) {
      if (bytes + size > readBytesMost) break;
      bytes += size;
      const list = await getHooks(this.#options, name);
      if (list !== undefined) this.#take(list);
    }
  }

  #take({ values, prefixes }: HookList): void {
    for (let at = 0; at < values.length; at += 2)
      this.#table.add(values[at]!, values[at + 1]!, prefixes[at]!, prefixes[at + 1]!);
  }
}

function prefixHex(low: number, high: number): string {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt32LE(low, 0);
  bytes.writeUInt32LE(high, 4);
  return bytes.toString("hex");
}
