/** Counts what a run puts into storage, while it may; a dry run's puts go nowhere. */
import type {
  ByteRange,
  ObjectInfo,
  ObjectKind,
  Storage,
  StorageCall,
  StorageTraits,
} from "../../../storage/index.ts";

export class MeteredStorage implements Storage {
  readonly location: string;
  readonly traits: StorageTraits;
  readonly #inner: Storage;
  readonly #discard: boolean;
  readonly #beforePut: () => void;
  #bytesPut = 0;

  /**
   * @param options.discard    pretend that every put worked
   * @param options.beforePut  throws when nothing may be put any more
   */
  constructor(
    inner: Storage,
    options: { readonly discard: boolean; readonly beforePut?: () => void },
  ) {
    this.#inner = inner;
    this.#discard = options.discard;
    this.#beforePut = options.beforePut ?? (() => undefined);
    this.location = inner.location;
    this.traits = inner.traits;
  }

  /** Stored bytes of the objects that were not there before. */
  get bytesPut(): number {
    return this.#bytesPut;
  }

  async put(
    kind: ObjectKind,
    name: string,
    parts: readonly Uint8Array[],
    call?: StorageCall,
  ): Promise<"created" | "exists"> {
    this.#beforePut();
    const result = this.#discard ? "created" : await this.#inner.put(kind, name, parts, call);
    if (result === "created") for (const part of parts) this.#bytesPut += part.length;
    return result;
  }

  get(
    kind: ObjectKind,
    name: string,
    range?: ByteRange,
    call?: StorageCall & { readonly into?: Uint8Array },
  ): Promise<Uint8Array | undefined> {
    return this.#inner.get(kind, name, range, call);
  }

  list(
    kind: ObjectKind,
    call?: StorageCall & { readonly prefix?: string },
  ): AsyncIterable<ObjectInfo> {
    return this.#inner.list(kind, call);
  }

  stat(kind: ObjectKind, name: string, call?: StorageCall): Promise<ObjectInfo | undefined> {
    return this.#inner.stat(kind, name, call);
  }

  delete(kind: ObjectKind, name: string, call?: StorageCall): Promise<boolean> {
    return this.#discard ? Promise.resolve(true) : this.#inner.delete(kind, name, call);
  }

  /** The storage belongs to the repository. */
  close(): Promise<void> {
    return Promise.resolve();
  }
}
