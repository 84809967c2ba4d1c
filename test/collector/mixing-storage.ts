/** Storage that mixes the calls of several runs: in an order that follows from a seed, or at one point. */
import type { ByteRange, ObjectInfo, ObjectKind, StorageCall } from "../../src/storage/index.ts";
import { WrappedStorage } from "../../src/storage/wrapped.ts";
import type { Storage } from "../../src/storage/index.ts";

const turnsMost = 12;

export class JitteringStorage extends WrappedStorage {
  readonly #below: (limit: number) => number;

  /** @param below  a whole number from 0 to below its argument */
  constructor(inner: Storage, below: (limit: number) => number) {
    super(inner);
    this.#below = below;
  }

  override async put(
    kind: ObjectKind,
    name: string,
    parts: readonly Uint8Array[],
    call?: StorageCall,
  ): Promise<"created" | "exists"> {
    await this.#wait();
    const answer = await super.put(kind, name, parts, call);
    await this.#wait();
    return answer;
  }

  override async get(
    kind: ObjectKind,
    name: string,
    range?: ByteRange,
    call?: StorageCall & { readonly into?: Uint8Array },
  ): Promise<Uint8Array | undefined> {
    await this.#wait();
    return super.get(kind, name, range, call);
  }

  override async delete(kind: ObjectKind, name: string, call?: StorageCall): Promise<boolean> {
    await this.#wait();
    return super.delete(kind, name, call);
  }

  override async *list(
    kind: ObjectKind,
    call?: StorageCall & { readonly prefix?: string },
  ): AsyncGenerator<ObjectInfo> {
    await this.#wait();
    yield* super.list(kind, call);
  }

  /** Closing is the repository's; several share what is beneath. */
  override close(): Promise<void> {
    return Promise.resolve();
  }

  async #wait(): Promise<void> {
    for (let turns = this.#below(turnsMost); turns > 0; turns--)
      await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Lets something else happen just before the first object of a kind is put. */
export class InterruptedStorage extends WrappedStorage {
  readonly #kind: ObjectKind;
  #event: (() => Promise<void>) | undefined;

  constructor(inner: Storage, kind: ObjectKind, event: () => Promise<void>) {
    super(inner);
    this.#kind = kind;
    this.#event = event;
  }

  override async put(
    kind: ObjectKind,
    name: string,
    parts: readonly Uint8Array[],
    call?: StorageCall,
  ): Promise<"created" | "exists"> {
    const event = this.#event;
    if (kind === this.#kind && event !== undefined) {
      this.#event = undefined;
      await event();
    }
    return super.put(kind, name, parts, call);
  }
}

/** Says that it has deleted these objects, and shows them still: a listing that lags behind. */
export class KeepingStorage extends WrappedStorage {
  readonly #names: readonly string[];

  constructor(inner: Storage, names: readonly string[]) {
    super(inner);
    this.#names = names;
  }

  override delete(kind: ObjectKind, name: string, call?: StorageCall): Promise<boolean> {
    return this.#names.includes(name) ? Promise.resolve(true) : super.delete(kind, name, call);
  }
}

/** mulberry32. @returns whole numbers from 0 to below the limit */
export function seededNumbers(seed: number): (limit: number) => number {
  let state = seed >>> 0;
  return (limit) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) % limit;
  };
}
