/**
 * Packs blobs on the main thread: tree nodes, which are made there, small, and few beside the data; and
 * chunks that come in their stored form from another repository.
 */
import type { BlobClass, PackSeal } from "../../crypto/index.ts";
import { PackBuilder, packBytesFor, type BuiltPack, type NewBlob } from "./pack-builder.ts";

export interface InlinePackerOptions {
  readonly cls: BlobClass;
  readonly repoId: Uint8Array;
  /** A Padmé length. */
  readonly capacity: number;
  newSeal(): PackSeal;
  /** Gets each pack as it is closed; `done`, once it is stored, gives its memory to a later one. */
  full(built: BuiltPack, done: () => void): void;
}

export class InlinePacker {
  readonly #options: InlinePackerOptions;
  readonly #spare: Uint8Array[] = [];
  #builder: PackBuilder | undefined;

  constructor(options: InlinePackerOptions) {
    this.#options = options;
  }

  add(blob: NewBlob): void {
    const { bytes, bases } = blob;
    if (this.#builder?.fits(bytes.length, bases.length) === false) this.close();
    this.#builder ??= this.#open(bytes.length, bases.length);
    this.#builder.add(blob);
    if (this.#builder.closesWell) this.close();
  }

  close(): void {
    const builder = this.#builder;
    this.#builder = undefined;
    if (builder === undefined) return;
    const built = builder.build();
    this.#options.full(built, () => {
      const { buffer } = built.bytes;
      if (buffer.byteLength === this.#options.capacity) this.#spare.push(new Uint8Array(buffer));
    });
  }

  #open(blobBytes: number, baseCount: number): PackBuilder {
    const { cls, repoId, capacity } = this.#options;
    const least = packBytesFor(blobBytes, baseCount);
    const spare = least <= capacity ? this.#spare.pop() : undefined;
    const memory = spare ?? new Uint8Array(Math.max(capacity, least));
    return new PackBuilder(this.#options.newSeal(), repoId, cls, memory);
  }
}
