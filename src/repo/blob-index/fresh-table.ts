/**
 * What this process is storing or has stored and no run holds yet: pending ids (no pack yet) and the
 * blobs of its finished packs. Open addressing on typed arrays; emptied into a run whenever the
 * IndexWriter has written, so it stays small however long the first backup takes.
 */
import type { IndexedPack } from "../format/index.ts";
import { blobOffsets } from "./pack-facts.ts";
import { Probe } from "./filter.ts";
import { classBit, compareIds, idBytes, noPack, readU32 } from "./record.ts";

const capacityMin = 1024;
/** Slots follow from these bytes of an id: within its 8-byte prefix, so that prefixes are found too. */
const slotBytesAt = 4;

export interface FreshPack {
  readonly pack: IndexedPack;
  readonly offsets: Uint32Array;
}

export class FreshTable {
  /** Entries, pending ones too. */
  count = 0;
  readonly #packs = new Map<number, FreshPack>();
  readonly #probe = new Probe();
  #ids = new Uint8Array(capacityMin * idBytes);
  #classes = new Uint8Array(capacityMin);
  #entryPacks = new Uint32Array(capacityMin);
  #ordinals = new Uint16Array(capacityMin);
  /** Entry + 1, or 0; never more than half full. */
  #slots = new Uint32Array(capacityMin * 2);

  /**
   * The first entry of an id, or of its first `length` (8) bytes, from slot `from` on; -1 if none.
   * `slotAfter` gives where to go on.
   */
  findSlot(
    bit: number,
    probe: Probe,
    length: number = idBytes,
    from: number = this.#firstSlot(probe),
  ): number {
    for (let slot = from; this.#slots[slot] !== 0; slot = this.slotAfter(slot)) {
      const entry = this.#slots[slot]! - 1;
      if (this.#classes[entry] !== bit) continue;
      if (compareIds(this.#ids, entry * idBytes, probe.ids, probe.at, length) === 0) return slot;
    }
    return -1;
  }

  /** The id at a slot; a view, valid until the table changes. */
  idAt(slot: number): Uint8Array {
    const entry = this.#slots[slot]! - 1;
    return this.#ids.subarray(entry * idBytes, (entry + 1) * idBytes);
  }

  slotAfter(slot: number): number {
    return (slot + 1) & (this.#slots.length - 1);
  }

  /** The pack's number, or `noPack` while the blob is pending. */
  packAt(slot: number): number {
    return this.#entryPacks[this.#slots[slot]! - 1]!;
  }

  ordinalAt(slot: number): number {
    return this.#ordinals[this.#slots[slot]! - 1]!;
  }

  /** Of a blob that is stored: 0 unless it is a delta. */
  depthAt(slot: number): number {
    return this.pack(this.packAt(slot)).pack.depths[this.ordinalAt(slot)]!;
  }

  pack(number: number): FreshPack {
    return this.#packs.get(number)!;
  }

  /** Numbers of the packs it holds. */
  packNumbers(): IterableIterator<number> {
    return this.#packs.keys();
  }

  addPending(bit: number, ids: Uint8Array, at: number): void {
    this.#insert(bit, ids, at, noPack, 0);
  }

  addPack(number: number, pack: IndexedPack): void {
    if (this.#packs.has(number)) return;
    const bit = classBit(pack.cls);
    this.#packs.set(number, { pack, offsets: blobOffsets(pack) });
    for (let ordinal = 0; ordinal < pack.count; ordinal++) {
      const at = ordinal * idBytes;
      const pending = this.#findPending(bit, this.#probe.set(pack.ids, at));
      if (pending === -1) this.#insert(bit, pack.ids, at, number, ordinal);
      else {
        const entry = this.#slots[pending]! - 1;
        this.#entryPacks[entry] = number;
        this.#ordinals[entry] = ordinal;
      }
    }
  }

  /** Forgets packs that a run holds now. */
  dropPacks(numbers: ReadonlySet<number>): void {
    for (const number of numbers) this.#packs.delete(number);
    const { count } = this;
    const [ids, classes, packs, ordinals] = [
      this.#ids,
      this.#classes,
      this.#entryPacks,
      this.#ordinals,
    ];
    let kept = 0;
    for (let entry = 0; entry < count; entry++) if (!numbers.has(packs[entry]!)) kept++;
    this.#allocate(kept);
    for (let entry = 0; entry < count; entry++) {
      if (!numbers.has(packs[entry]!))
        this.#insert(classes[entry]!, ids, entry * idBytes, packs[entry]!, ordinals[entry]!);
    }
  }

  #findPending(bit: number, probe: Probe): number {
    let slot = this.findSlot(bit, probe);
    while (slot !== -1 && this.packAt(slot) !== noPack)
      slot = this.findSlot(bit, probe, idBytes, this.slotAfter(slot));
    return slot;
  }

  #insert(bit: number, ids: Uint8Array, at: number, pack: number, ordinal: number): void {
    if (this.count === this.#classes.length) this.#grow();
    const entry = this.count++;
    this.#ids.set(ids.subarray(at, at + idBytes), entry * idBytes);
    this.#classes[entry] = bit;
    this.#entryPacks[entry] = pack;
    this.#ordinals[entry] = ordinal;
    this.#link(entry);
  }

  #link(entry: number): void {
    let slot = readU32(this.#ids, entry * idBytes + slotBytesAt) & (this.#slots.length - 1);
    while (this.#slots[slot] !== 0) slot = this.slotAfter(slot);
    this.#slots[slot] = entry + 1;
  }

  #firstSlot(probe: Probe): number {
    return readU32(probe.ids, probe.at + slotBytesAt) & (this.#slots.length - 1);
  }

  #grow(): void {
    const { count } = this;
    const [ids, classes, packs, ordinals] = [
      this.#ids,
      this.#classes,
      this.#entryPacks,
      this.#ordinals,
    ];
    this.#allocate(count * 2);
    this.#ids.set(ids);
    this.#classes.set(classes);
    this.#entryPacks.set(packs);
    this.#ordinals.set(ordinals);
    this.count = count;
    for (let entry = 0; entry < count; entry++) this.#link(entry);
  }

  #allocate(entries: number): void {
    const capacity = Math.max(capacityMin, 2 ** Math.ceil(Math.log2(entries + 1)));
    this.count = 0;
    this.#ids = new Uint8Array(capacity * idBytes);
    this.#classes = new Uint8Array(capacity);
    this.#entryPacks = new Uint32Array(capacity);
    this.#ordinals = new Uint16Array(capacity);
    this.#slots = new Uint32Array(capacity * 2);
  }
}
