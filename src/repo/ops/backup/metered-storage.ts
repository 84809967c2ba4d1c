/** Counts what a run puts into storage, while it may; a dry run's puts go nowhere. */
import {
  type ObjectKind,
  type Storage,
  type StorageCall,
  WrappedStorage,
} from "../../../storage/index.ts";

export class MeteredStorage extends WrappedStorage {
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
    super(inner);
    this.#discard = options.discard;
    this.#beforePut = options.beforePut ?? (() => undefined);
  }

  /** Stored bytes of the objects that were not there before. */
  get bytesPut(): number {
    return this.#bytesPut;
  }

  override async put(
    kind: ObjectKind,
    name: string,
    parts: readonly Uint8Array[],
    call?: StorageCall,
  ): Promise<"created" | "exists"> {
    this.#beforePut();
    const result = this.#discard ? "created" : await super.put(kind, name, parts, call);
    if (result === "created") for (const part of parts) this.#bytesPut += part.length;
    return result;
  }

  override delete(kind: ObjectKind, name: string, call?: StorageCall): Promise<boolean> {
    return this.#discard ? Promise.resolve(true) : super.delete(kind, name, call);
  }

  /** The storage belongs to the repository. */
  override close(): Promise<void> {
    return Promise.resolve();
  }
}
