/**
 * A blocked Bloom filter: all bits of an id lie in one 64-byte block, so that a query costs one cache
 * line. The block follows from the id's leading bits: records that come sorted fill the blocks in
 * order, so a filter of any size is written as a stream.
 * @see Putze, Sanders, Singler, Cache-, Hash- and Space-Efficient Bloom Filters, WEA 2007
 */
import { readKey } from "./record.ts";

export const filterBlockBytes = 64;
const bitsPerRecord = 10;

export function filterBlockCount(records: number): number {
  return Math.max(1, Math.ceil((records * bitsPerRecord) / (filterBlockBytes * 8)));
}

/** An id, or its first 8 bytes, made ready to ask several filters and buckets. */
export class Probe {
  ids: Uint8Array = new Uint8Array(8);
  at = 0;
  /** The leading 32 bits. */
  key = 0;
  /** Three 9-bit bit numbers each. */
  bitsA = 0;
  bitsB = 0;

  set(ids: Uint8Array, at: number): this {
    this.ids = ids;
    this.at = at;
    this.key = readKey(ids, at);
    this.bitsA = mix(readKey(ids, at + 4) ^ Math.imul(this.key, 0x9e37_79b1));
    this.bitsB = mix(this.bitsA ^ 0x85eb_ca6b);
    return this;
  }
}

export function filterBlock(key: number, blockCount: number): number {
  return Math.floor((key * blockCount) / 0x1_0000_0000);
}

/** False: certainly absent. True: absent all the same for about one id in a hundred. */
export function filterMayContain(filter: Uint8Array, blockCount: number, probe: Probe): boolean {
  const base = filterBlock(probe.key, blockCount) * filterBlockBytes;
  return has3(filter, base, probe.bitsA) && has3(filter, base, probe.bitsB);
}

/** Sets an id's bits in its block, which begins at `base`. */
export function filterAdd(filter: Uint8Array, base: number, probe: Probe): void {
  add3(filter, base, probe.bitsA);
  add3(filter, base, probe.bitsB);
}

function has3(filter: Uint8Array, base: number, bits: number): boolean {
  return (
    (filter[base + ((bits & 511) >>> 3)]! & (1 << (bits & 7))) !== 0 &&
    (filter[base + (((bits >>> 9) & 511) >>> 3)]! & (1 << ((bits >>> 9) & 7))) !== 0 &&
    (filter[base + (((bits >>> 18) & 511) >>> 3)]! & (1 << ((bits >>> 18) & 7))) !== 0
  );
}

function add3(filter: Uint8Array, base: number, bits: number): void {
  for (let shift = 0; shift <= 18; shift += 9) {
    const bit = (bits >>> shift) & 511;
    filter[base + (bit >>> 3)]! |= 1 << (bit & 7);
  }
}

/** MurmurHash3's finaliser. */
function mix(value: number): number {
  let h = value;
  h = Math.imul(h ^ (h >>> 16), 0x85eb_ca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2_ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
