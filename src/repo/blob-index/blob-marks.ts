/** One bit a blob: which are needed. 100 million take 12 MiB and the counts per pack. */
import type { BlobIndex } from "./blob-index.ts";
import type { BlobLocation } from "./location.ts";

export class BlobMarks {
  readonly #index: Pick<BlobIndex, "packCount" | "blobCount">;
  /** Where a pack's bits begin; one more than there are packs. */
  #firstBits = new Float64Array(1);
  #packCount = 0;
  #bits = new Uint8Array(0);
  #usedCounts = new Uint32Array(0);
  #usedBytes = new Float64Array(0);

  constructor(index: Pick<BlobIndex, "packCount" | "blobCount">) {
    this.#index = index;
    this.#grow();
  }

  /** @returns whether it was not marked before */
  mark(location: Pick<BlobLocation, "pack" | "ordinal" | "sealedLength">): boolean {
    if (location.pack >= this.#packCount) this.#grow();
    const bit = this.#bit(location);
    const byte = Math.floor(bit / 8);
    const mask = 1 << (bit % 8);
    if ((this.#bits[byte]! & mask) !== 0) return false;
    this.#bits[byte]! |= mask;
    this.#usedCounts[location.pack]!++;
    this.#usedBytes[location.pack]! += location.sealedLength;
    return true;
  }

  isMarked(location: Pick<BlobLocation, "pack" | "ordinal">): boolean {
    if (location.pack >= this.#packCount) return false;
    const bit = this.#bit(location);
    return (this.#bits[Math.floor(bit / 8)]! & (1 << (bit % 8))) !== 0;
  }

  /** Marked blobs of a pack. */
  usedCount(pack: number): number {
    return this.#usedCounts[pack] ?? 0;
  }

  /** Their sealed bytes. */
  usedBytes(pack: number): number {
    return this.#usedBytes[pack] ?? 0;
  }

  #bit({ pack, ordinal }: Pick<BlobLocation, "pack" | "ordinal">): number {
    return this.#firstBits[pack]! + ordinal;
  }

  /** Makes room for the packs that the index has met since. */
  #grow(): void {
    const count = this.#index.packCount;
    const firstBits = new Float64Array(count + 1);
    firstBits.set(this.#firstBits);
    for (let pack = this.#packCount; pack < count; pack++)
      firstBits[pack + 1] = firstBits[pack]! + this.#index.blobCount(pack);
    const bits = new Uint8Array(Math.ceil(firstBits[count]! / 8));
    bits.set(this.#bits);
    const usedCounts = new Uint32Array(count);
    usedCounts.set(this.#usedCounts);
    const usedBytes = new Float64Array(count);
    usedBytes.set(this.#usedBytes);
    this.#firstBits = firstBits;
    this.#bits = bits;
    this.#usedCounts = usedCounts;
    this.#usedBytes = usedBytes;
    this.#packCount = count;
  }
}
