/**
 * Which clusters of a disk hold data: a bit each, in pages that exist only where there are some, so that
 * a disk of any size costs what its data costs (2 MiB for a TiB of data in clusters of 64 KiB).
 */
const pageClusters = 4096;
const wordBits = 32;
const pageWords = pageClusters / wordBits;
const full = 0xffff_ffff;

export interface ClusterRun {
  readonly first: number;
  readonly count: number;
}

export class ClusterSet {
  readonly clusterBytes: number;
  readonly #pages = new Map<number, Uint32Array>();
  /** How many are in the pages before; made when first asked for. */
  #ranks: Map<number, number> | undefined;

  constructor(clusterBytes: number) {
    this.clusterBytes = clusterBytes;
  }

  get count(): number {
    let count = 0;
    for (const page of this.#pages.values()) count += countIn(page, pageClusters);
    return count;
  }

  /** Every cluster that the range touches. */
  add(offset: number, length: number): void {
    this.#ranks = undefined;
    const end = Math.ceil((offset + length) / this.clusterBytes);
    for (let cluster = Math.floor(offset / this.clusterBytes); cluster < end; cluster++) {
      const page = this.#page(Math.floor(cluster / pageClusters));
      const bit = cluster % pageClusters;
      page[Math.floor(bit / wordBits)]! |= 1 << (bit % wordBits);
    }
  }

  /** How many clusters of the set come before this one; undefined when it is not in the set. */
  rank(cluster: number): number | undefined {
    const number = Math.floor(cluster / pageClusters);
    const page = this.#pages.get(number);
    if (page === undefined) return undefined;
    const bit = cluster % pageClusters;
    if (((page[Math.floor(bit / wordBits)]! >>> (bit % wordBits)) & 1) === 0) return undefined;
    this.#ranks ??= this.#pageRanks();
    return this.#ranks.get(number)! + countIn(page, bit);
  }

  /** In order, apart, and not longer than a page. */
  *runs(): Generator<ClusterRun> {
    for (const number of this.#numbers()) {
      const page = this.#pages.get(number)!;
      const base = number * pageClusters;
      let start = -1;
      for (let bit = 0; bit <= pageClusters; bit++) {
        const word = bit === pageClusters ? 0 : page[Math.floor(bit / wordBits)]!;
        const isIn = ((word >>> (bit % wordBits)) & 1) === 1;
        if (isIn && start < 0) start = bit;
        if (!isIn && start >= 0) {
          yield { first: base + start, count: bit - start };
          start = -1;
        }
      }
    }
  }

  #page(number: number): Uint32Array {
    const known = this.#pages.get(number);
    if (known !== undefined) return known;
    const page = new Uint32Array(pageWords);
    this.#pages.set(number, page);
    return page;
  }

  #numbers(): number[] {
    return [...this.#pages.keys()].sort((a, b) => a - b);
  }

  #pageRanks(): Map<number, number> {
    const ranks = new Map<number, number>();
    let count = 0;
    for (const number of this.#numbers()) {
      ranks.set(number, count);
      count += countIn(this.#pages.get(number)!, pageClusters);
    }
    return ranks;
  }
}

/** Bits that are set among the first `bits` of a page. */
function countIn(page: Uint32Array, bits: number): number {
  const words = Math.floor(bits / wordBits);
  let count = 0;
  for (let at = 0; at < words; at++) count += bitsOf(page[at]!);
  return bits % wordBits === 0
    ? count
    : count + bitsOf(page[words]! & ~(full << (bits % wordBits)));
}

function bitsOf(word: number): number {
  let bits = word - ((word >>> 1) & 0x5555_5555);
  bits = (bits & 0x3333_3333) + ((bits >>> 2) & 0x3333_3333);
  return (((bits + (bits >>> 4)) & 0x0f0f_0f0f) * 0x0101_0101) >>> 24;
}
