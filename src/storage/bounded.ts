/** At most so many requests at once, however many callers there are: memory and sockets are bounded. */
import type { ByteRange, ObjectInfo, ObjectKind, Storage, StorageCall } from "./storage.ts";
import { WrappedStorage } from "./wrapped.ts";

export class BoundedStorage extends WrappedStorage {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(inner: Storage, requestsMost: number) {
    super(inner);
    this.#free = requestsMost;
  }

  override put(
    kind: ObjectKind,
    name: string,
    parts: readonly Uint8Array[],
    call?: StorageCall,
  ): Promise<"created" | "exists"> {
    return this.#inTurn(() => super.put(kind, name, parts, call));
  }

  override get(
    kind: ObjectKind,
    name: string,
    range?: ByteRange,
    call?: StorageCall & { readonly into?: Uint8Array },
  ): Promise<Uint8Array | undefined> {
    return this.#inTurn(() => super.get(kind, name, range, call));
  }

  /** Counts while names are waited for: who lists may make other requests between two names. */
  override async *list(
    kind: ObjectKind,
    call?: StorageCall & { readonly prefix?: string },
  ): AsyncGenerator<ObjectInfo> {
    const listing = super.list(kind, call)[Symbol.asyncIterator]();
    try {
      for (;;) {
        const next = await this.#inTurn(() => listing.next());
        if (next.done === true) return;
        yield next.value;
      }
    } finally {
      await listing.return?.();
    }
  }

  override stat(
    kind: ObjectKind,
    name: string,
    call?: StorageCall,
  ): Promise<ObjectInfo | undefined> {
    return this.#inTurn(() => super.stat(kind, name, call));
  }

  override delete(kind: ObjectKind, name: string, call?: StorageCall): Promise<boolean> {
    return this.#inTurn(() => super.delete(kind, name, call));
  }

  override protect(kind: ObjectKind, name: string, call?: StorageCall): Promise<boolean> {
    return this.#inTurn(() => super.protect(kind, name, call));
  }

  async #inTurn<T>(act: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await act();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free++;
      else next();
    }
  }
}
