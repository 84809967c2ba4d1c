/**
 * Which chunk first held a block, for a sample of blocks: an open-addressing table on typed arrays
 * whose size is bounded. When it is full, every second value leaves it and is not taken in again: the
 * sample gets sparser as the repository grows, the memory stays.
 */

const emptyShare = 0.4;
/** Values count if their low bits are zero: one block in 4 to begin with. */
export const hookSampleBits = 2;

export class HookTable {
  readonly #capacity: number;
  #slots: Uint32Array;
  #count = 0;
  #sampleBits = hookSampleBits;

  /** @param slotsMost  a power of two; 16 bytes each */
  constructor(slotsMost: number) {
    this.#capacity = slotsMost;
    this.#slots = new Uint32Array(Math.min(slotsMost, 1 << 12) * 4);
  }

  get count(): number {
    return this.#count;
  }

  /** @returns false when the value is there already, or not in the sample */
  add(low: number, high: number, prefixLow: number, prefixHigh: number): boolean {
    if (!this.#isSampled(low)) return false;
    const at = this.#find(low, high);
    if (this.#isTaken(at)) return false;
    this.#slots.set([low, high, prefixLow, prefixHigh], at);
    this.#count++;
    if (this.#count > this.#slotCount * (1 - emptyShare)) this.#makeRoom();
    return true;
  }

  /** @returns where the chunk's prefix begins in `words`; -1 when the value is not known */
  find(low: number, high: number): number {
    if (!this.#isSampled(low)) return -1;
    const at = this.#find(low, high);
    return this.#isTaken(at) ? at + 2 : -1;
  }

  /** Low and high half of a prefix stand at what `find` returned. */
  get words(): Uint32Array {
    return this.#slots;
  }

  get #slotCount(): number {
    return this.#slots.length / 4;
  }

  #isSampled(low: number): boolean {
    return (low & ((1 << this.#sampleBits) - 1)) === 0;
  }

  /** A prefix of zeros, one id in 2^64, would look free: it costs a hook, no more. */
  #isTaken(at: number): boolean {
    return this.#slots[at + 2] !== 0 || this.#slots[at + 3] !== 0;
  }

  #find(low: number, high: number): number {
    const mask = this.#slotCount - 1;
    let slot = high & mask;
    while (
      this.#isTaken(slot * 4) &&
      (this.#slots[slot * 4] !== low || this.#slots[slot * 4 + 1] !== high)
    ) {
      slot = (slot + 1) & mask;
    }
    return slot * 4;
  }

  #makeRoom(): void {
    const before = this.#slots;
    if (this.#slotCount < this.#capacity) this.#slots = new Uint32Array(before.length * 2);
    else {
      this.#sampleBits++;
      this.#slots = new Uint32Array(before.length);
    }
    this.#count = 0;
    for (let at = 0; at < before.length; at += 4) {
      if (before[at + 2] === 0 && before[at + 3] === 0) continue;
      this.add(before[at]!, before[at + 1]!, before[at + 2]!, before[at + 3]!);
    }
  }
}
