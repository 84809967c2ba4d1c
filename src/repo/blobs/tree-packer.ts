/** Packs tree nodes on the main thread: they are made there, small, and few beside the data. */
import type { PackSeal } from "../../crypto/index.ts";
import { FormChooser } from "./choose-form.ts";
import { PackBuilder, packBytesFor, type BuiltPack } from "./pack-builder.ts";

export interface TreePackerOptions {
  readonly chooser: FormChooser;
  readonly repoId: Uint8Array;
  /** A Padmé length. */
  readonly capacity: number;
  newSeal(): PackSeal;
  /** Gets each pack as it is closed; its memory is not used again. */
  full(built: BuiltPack): void;
}

export class TreePacker {
  readonly #options: TreePackerOptions;
  #builder: PackBuilder | undefined;

  constructor(options: TreePackerOptions) {
    this.#options = options;
  }

  add(id: Uint8Array, plain: Uint8Array): void {
    const chosen = this.#options.chooser.chooseForm(plain);
    if (this.#builder?.fits(chosen.bytes.length, 0) === false) this.close();
    this.#builder ??= this.#open(chosen.bytes.length);
    this.#builder.add({ ...chosen, id, plainLength: plain.length });
    if (this.#builder.closesWell) this.close();
  }

  close(): void {
    const builder = this.#builder;
    this.#builder = undefined;
    if (builder !== undefined) this.#options.full(builder.build());
  }

  #open(blobBytes: number): PackBuilder {
    const { repoId, capacity } = this.#options;
    const memory = new Uint8Array(Math.max(capacity, packBytesFor(blobBytes, 0)));
    return new PackBuilder(this.#options.newSeal(), repoId, "tree", memory);
  }
}
