/**
 * Whether a blob can be read from somewhere: a listed pack, not known to be damaged there, and for a
 * delta every base in a form of smaller depth (R1).
 */
import type { BlobIndex, BlobLocation } from "../../blob-index/index.ts";
import { BlobMarks } from "../../blob-index/index.ts";
import { blobForm, type BlobClass, deltaDepthMax } from "../../format/index.ts";

type Lookups = Pick<
  BlobIndex,
  "lookupAll" | "lookupPrefix" | "packCount" | "blobCount" | "packInfo" | "packNumbers"
>;

export class BlobAvailability {
  readonly #index: Lookups;
  readonly #damaged: BlobMarks;
  readonly #damagedPacks = new Set<number>();

  constructor(index: Lookups) {
    this.#index = index;
    this.#damaged = new BlobMarks(index);
  }

  isReadable(cls: BlobClass, ids: Uint8Array, at = 0): boolean {
    return this.#index
      .lookupAll(cls, ids, at)
      .some((location) => this.#isGood(cls, location, deltaDepthMax + 1));
  }

  /** Notes that what is said to lie there in `pack` is not there. */
  markDamaged(cls: BlobClass, id: Uint8Array, pack: string, offset: number): void {
    for (const location of this.#index.lookupAll(cls, id)) {
      if (location.offset === offset && this.#index.packInfo(location.pack).name === pack)
        this.#damaged.mark(location);
    }
  }

  /** Nothing can be read from this one. */
  markDamagedPack(name: string): void {
    for (const number of this.#index.packNumbers(name)) this.#damagedPacks.add(number);
  }

  #isGood(cls: BlobClass, location: BlobLocation, depthBelow: number): boolean {
    if (location.depth >= depthBelow || this.#damagedPacks.has(location.pack)) return false;
    if (this.#damaged.isMarked(location)) return false;
    if (location.form !== blobForm.delta) return true;
    return location.basePrefixes.every((prefix) =>
      this.#index.lookupPrefix(cls, prefix).some((base) => this.#isGood(cls, base, location.depth)),
    );
  }
}
