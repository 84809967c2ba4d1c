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
  /** Gets each pack as it is closed; its memory is not used again. */
  full(built: BuiltPack): void;
}

export class InlinePacker {
  readonly #options: InlinePackerOptions;
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
    if (builder !== undefined) this.#options.full(builder.build());
  }

  #open(blobBytes: number, baseCount: number): PackBuilder {
    const { cls, repoId, capacity } = this.#options;
    const memory = new Uint8Array(Math.max(capacity, packBytesFor(blobBytes, baseCount)));
    return new PackBuilder(this.#options.newSeal(), repoId, cls, memory);
  }
}
