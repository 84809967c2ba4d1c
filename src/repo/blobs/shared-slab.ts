/** Shared memory in small pieces: a SharedArrayBuffer of its own for each costs system calls. */
const slabBytes = 1024 * 1024;

export class SharedSlab {
  #slab = new SharedArrayBuffer(0);
  #used = 0;

  /** Zero-filled bytes that nobody else has; a slab is freed when its last piece is. */
  take(length: number): Uint8Array {
    if (length > slabBytes / 2) return new Uint8Array(new SharedArrayBuffer(length));
    if (this.#used + length > this.#slab.byteLength) {
      this.#slab = new SharedArrayBuffer(slabBytes);
      this.#used = 0;
    }
    const piece = new Uint8Array(this.#slab, this.#used, length);
    this.#used += length;
    return piece;
  }
}
