/** Plain bytes of blobs lately read, bounded by bytes; the least lately used go first. */
import { toHex } from "../../bytes.ts";
import type { BlobClass } from "../../crypto/index.ts";

export class PlainCache {
  readonly #bytesMost: number;
  /** In order of use: a Map keeps the order of insertion. */
  readonly #blobs = new Map<string, Uint8Array>();
  #bytes = 0;

  constructor(bytesMost: number) {
    this.#bytesMost = bytesMost;
  }

  get(cls: BlobClass, id: Uint8Array): Uint8Array | undefined {
    const key = keyOf(cls, id);
    const plain = this.#blobs.get(key);
    if (plain !== undefined) {
      this.#blobs.delete(key);
      this.#blobs.set(key, plain);
    }
    return plain;
  }

  put(cls: BlobClass, id: Uint8Array, plain: Uint8Array): void {
    const key = keyOf(cls, id);
    if (plain.length > this.#bytesMost || this.#blobs.has(key)) return;
    this.#blobs.set(key, plain);
    this.#bytes += plain.length;
    for (const [oldest, bytes] of this.#blobs) {
      if (this.#bytes <= this.#bytesMost) return;
      this.#blobs.delete(oldest);
      this.#bytes -= bytes.length;
    }
  }
}

function keyOf(cls: BlobClass, id: Uint8Array): string {
  return `${cls} ${toHex(id)}`;
}
