/** Gathers the records of index objects until they are worth a run: some 40 MiB at most. */
import type { IndexedPack } from "../format/index.ts";
import { blobOffsets } from "./pack-facts.ts";
import {
  compareIds,
  idBytes,
  prefixBytes,
  readKey,
  readU32,
  recordBytes,
  recordPack,
  writeRecord,
} from "./record.ts";

const recordCountMin = 4096;
/** Up to here a group of equal leading bits is sorted by insertion. */
const smallGroup = 24;

export class ImportBuffer {
  count = 0;
  #records = new Uint8Array(recordCountMin * recordBytes);
  #bases = new Uint8Array(recordCountMin * prefixBytes);
  #baseCount = 0;

  /** @param pack  what the records shall carry as their pack */
  add(pack: IndexedPack, packNumber: number): void {
    const needed = (this.count + pack.count) * recordBytes;
    if (needed > this.#records.length) this.#records = grownTo(this.#records, needed);
    const basesNeeded = (this.#baseCount + pack.bases.length) * prefixBytes;
    if (basesNeeded > this.#bases.length) this.#bases = grownTo(this.#bases, basesNeeded);
    const offsets = blobOffsets(pack);
    let base = 0;
    for (let ordinal = 0; ordinal < pack.count; ordinal++) {
      const baseFirst = this.#baseCount;
      for (; pack.bases[base]?.ordinal === ordinal; base++) {
        this.#bases.set(pack.bases[base]!.prefix, this.#baseCount++ * prefixBytes);
      }
      const at = this.count++ * recordBytes;
      this.#records.set(pack.ids.subarray(ordinal * idBytes, (ordinal + 1) * idBytes), at);
      writeRecord(this.#records, at, {
        cls: pack.cls,
        pack: packNumber,
        ordinal,
        offset: offsets[ordinal]!,
        sealedLength: pack.sealedLengths[ordinal]!,
        plainLength: pack.plainLengths[ordinal]!,
        form: pack.forms[ordinal]!,
        depth: pack.depths[ordinal]!,
        baseCount: this.#baseCount - baseFirst,
        baseFirst,
      });
    }
  }

  /** Gives the records by rising id: where each lies, its pack and its base prefixes. */
  forEachSorted(
    each: (
      records: Uint8Array,
      at: number,
      pack: number,
      bases: Uint8Array,
      basesAt: number,
    ) => void,
  ): void {
    for (const record of this.#sortedOrder()) {
      const at = record * recordBytes;
      const basesAt = readU32(this.#records, at + 52) * prefixBytes;
      each(this.#records, at, recordPack(this.#records, at), this.#bases, basesAt);
    }
  }

  clear(): void {
    this.count = 0;
    this.#baseCount = 0;
  }

  /** Counting sort on the leading bits, then each small group by whole ids. */
  #sortedOrder(): Uint32Array {
    const bits = Math.max(1, Math.min(20, Math.floor(Math.log2(this.count / 4 + 1))));
    const ends = new Uint32Array(2 ** bits + 1);
    for (let record = 0; record < this.count; record++) ends[this.#group(record, bits) + 1]!++;
    for (let group = 1; group < ends.length; group++) ends[group]! += ends[group - 1]!;
    const order = new Uint32Array(this.count);
    const next = ends.slice();
    for (let record = 0; record < this.count; record++)
      order[next[this.#group(record, bits)]!++] = record;
    for (let group = 0; group < 2 ** bits; group++)
      this.#sortGroup(order.subarray(ends[group], ends[group + 1]));
    return order;
  }

  #group(record: number, bits: number): number {
    return readKey(this.#records, record * recordBytes) >>> (32 - bits);
  }

  #sortGroup(order: Uint32Array): void {
    if (order.length > smallGroup) {
      order.sort((a, b) => this.#compare(a, b));
      return;
    }
    for (let i = 1; i < order.length; i++) {
      const record = order[i]!;
      let at = i;
      for (; at > 0 && this.#compare(order[at - 1]!, record) > 0; at--) order[at] = order[at - 1]!;
      order[at] = record;
    }
  }

  #compare(a: number, b: number): number {
    return compareIds(this.#records, a * recordBytes, this.#records, b * recordBytes);
  }
}

function grownTo(bytes: Uint8Array<ArrayBuffer>, length: number): Uint8Array<ArrayBuffer> {
  const larger = new Uint8Array(Math.max(length, Math.ceil(bytes.length * 1.5)));
  larger.set(bytes);
  return larger;
}
