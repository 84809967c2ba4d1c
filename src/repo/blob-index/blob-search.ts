/** Looks ids up in what this process stored and in the runs; never throws, never waits. */
import type { BlobClass } from "../format/index.ts";
import { Probe } from "./filter.ts";
import type { FreshTable } from "./fresh-table.ts";
import { freshLocation, runLocation, type BlobLocation } from "./location.ts";
import { toHex } from "../../bytes.ts";
import { classBit, idBytes, noPack, prefixBytes, recordClassBit, recordDepth } from "./record.ts";
import type { RunSet } from "./run-set.ts";
import { recordAt, type Run } from "./run.ts";

export class BlobSearch {
  readonly #fresh: FreshTable;
  readonly #runs: RunSet;
  readonly #isUsable: (pack: number) => boolean;
  readonly #probe = new Probe();

  constructor(fresh: FreshTable, runs: RunSet, isUsable: (pack: number) => boolean) {
    this.#fresh = fresh;
    this.#runs = runs;
    this.#isUsable = isUsable;
  }

  /** Whether a usable pack holds it, and its bases are as sure: a marked one's may be gone tomorrow (R3). */
  has(cls: BlobClass, ids: Uint8Array, at: number): boolean {
    const bit = classBit(cls);
    const probe = this.#probe.set(ids, at);
    let isDelta = false;
    for (
      let slot = this.#fresh.findSlot(bit, probe);
      slot !== -1;
      slot = this.#nextSlot(bit, slot)
    ) {
      if (!this.#isStored(this.#fresh.packAt(slot))) continue;
      if (this.#fresh.depthAt(slot) === 0) return true;
      isDelta = true;
    }
    for (const run of this.#runs.runs) {
      for (let record = run.find(probe); record !== -1; record = run.next(record, probe)) {
        if (!this.#isStored(packOf(run, record, bit))) continue;
        if (recordDepth(run.bucket, recordAt(record)) === 0) return true;
        isDelta = true;
      }
    }
    return (
      isDelta && this.all(cls, ids, at, idBytes).some((location) => this.isWhole(cls, location))
    );
  }

  /** Whether all that it is a delta of lies in usable packs, in forms of smaller depth (R1). */
  isWhole(cls: BlobClass, { depth, basePrefixes }: BlobLocation): boolean {
    return basePrefixes.every((prefix) => {
      const isReadable = new Map<string, boolean>();
      for (const place of this.all(cls, prefix, 0, prefixBytes)) {
        const id = toHex(place.id);
        const isFine = place.depth < depth && this.isWhole(cls, place);
        isReadable.set(id, isFine || isReadable.get(id) === true);
      }
      return isReadable.size > 0 && [...isReadable.values()].every(Boolean);
    });
  }

  isPending(cls: BlobClass, ids: Uint8Array, at: number): boolean {
    const bit = classBit(cls);
    const probe = this.#probe.set(ids, at);
    for (
      let slot = this.#fresh.findSlot(bit, probe);
      slot !== -1;
      slot = this.#nextSlot(bit, slot)
    ) {
      if (this.#fresh.packAt(slot) === noPack) return true;
    }
    return false;
  }

  /** Every usable place of an id, or of all ids that begin with `length` (8) bytes. */
  all(
    cls: BlobClass,
    ids: Uint8Array,
    at: number,
    length: number,
    isWanted: (pack: number) => boolean = this.#isUsable,
  ): BlobLocation[] {
    const bit = classBit(cls);
    const probe = this.#probe.set(ids, at);
    const found: BlobLocation[] = [];
    for (
      let slot = this.#fresh.findSlot(bit, probe, length);
      slot !== -1;
      slot = this.#nextSlot(bit, slot, length)
    ) {
      const pack = this.#fresh.packAt(slot);
      if (pack !== noPack && isWanted(pack)) found.push(freshLocation(this.#fresh, slot));
    }
    for (const run of this.#runs.runs) {
      for (
        let record = run.find(probe, length);
        record !== -1;
        record = run.next(record, probe, length)
      ) {
        const pack = packOf(run, record, bit);
        if (pack !== noPack && isWanted(pack)) found.push(runLocation(run, record, pack));
      }
    }
    return found;
  }

  #isStored(pack: number): boolean {
    return pack !== noPack && this.#isUsable(pack);
  }

  #nextSlot(bit: number, slot: number, length: number = idBytes): number {
    return this.#fresh.findSlot(bit, this.#probe, length, this.#fresh.slotAfter(slot));
  }
}

/** The pack of a record of this class, or `noPack` for one that does not count. */
function packOf(run: Run, record: number, bit: number): number {
  return recordClassBit(run.bucket, recordAt(record)) === bit ? run.packOf(record) : noPack;
}
