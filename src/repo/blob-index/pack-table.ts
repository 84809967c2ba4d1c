/**
 * Every pack this process has heard of, by a number that stays the same while the process lives.
 * Columns of typed arrays: 60-odd bytes a pack, and a repository of 100 million chunks has some
 * hundred thousand packs.
 */
import { fromHex, toHex } from "../../bytes.ts";
import type { BlobClass } from "../format/index.ts";
import { factsBytes } from "./pack-facts.ts";
import { compareIds, idBytes, readU32 } from "./record.ts";

/** `facts` tells apart contradicting claims about one name; see factsDigest. */
export interface PackClaim {
  readonly name: Uint8Array;
  readonly facts: Uint8Array;
  readonly size: number;
  readonly blobCount: number;
  readonly classBit: number;
}

export interface PackInfo {
  readonly name: string;
  /** Stored bytes. */
  readonly size: number;
  readonly cls: BlobClass;
  readonly blobCount: number;
}

/** A listed index object names the pack. */
export const packIndexed = 1;
/** A mark names it: it will never be usable again (R3). */
export const packHidden = 2;
/** It was seen in a listing of data/. */
export const packListed = 4;
/** This process stored it. */
export const packOwn = 8;
/** A lookup has found something in it, so what this process stores may depend on it. */
export const packTaken = 16;

export class PackTable {
  count = 0;
  #names = new Uint8Array(idBytes * 64);
  #facts = new Uint8Array(factsBytes * 64);
  #sizes = new Uint32Array(64);
  #blobCounts = new Uint32Array(64);
  #classes = new Uint8Array(64);
  #flags = new Uint8Array(64);
  /** Open addressing by the name's first bytes: number + 1, or 0. Claims about one name lie in one cluster. */
  #slots = new Uint32Array(128);

  /** The number of a claim, new if it is. */
  intern(claim: PackClaim): number {
    let slot = this.#slotOf(claim.name);
    for (; this.#slots[slot] !== 0; slot = this.#after(slot)) {
      const number = this.#slots[slot]! - 1;
      if (
        this.#hasName(number, claim.name) &&
        compareIds(this.#facts, number * factsBytes, claim.facts, 0, factsBytes) === 0
      )
        return number;
    }
    if (this.count === this.#sizes.length) {
      this.#grow();
      return this.intern(claim);
    }
    const number = this.count++;
    this.#slots[slot] = number + 1;
    this.#names.set(claim.name, number * idBytes);
    this.#facts.set(claim.facts, number * factsBytes);
    this.#sizes[number] = claim.size;
    this.#blobCounts[number] = claim.blobCount;
    this.#classes[number] = claim.classBit;
    return number;
  }

  /** All claims about a pack: one, unless somebody lies. */
  numbersOf(name: string): number[] {
    const bytes = fromHex(name);
    const numbers: number[] = [];
    if (bytes.length !== idBytes) return numbers;
    for (let slot = this.#slotOf(bytes); this.#slots[slot] !== 0; slot = this.#after(slot)) {
      const number = this.#slots[slot]! - 1;
      if (this.#hasName(number, bytes)) numbers.push(number);
    }
    return numbers;
  }

  claim(number: number): PackClaim {
    return {
      name: this.#names.slice(number * idBytes, (number + 1) * idBytes),
      facts: this.#facts.slice(number * factsBytes, (number + 1) * factsBytes),
      size: this.#sizes[number]!,
      blobCount: this.#blobCounts[number]!,
      classBit: this.#classes[number]!,
    };
  }

  info(number: number): PackInfo {
    return {
      name: toHex(this.#names.subarray(number * idBytes, (number + 1) * idBytes)),
      size: this.#sizes[number]!,
      cls: this.#classes[number] === 1 ? "tree" : "data",
      blobCount: this.#blobCounts[number]!,
    };
  }

  size(number: number): number {
    return this.#sizes[number]!;
  }

  blobCount(number: number): number {
    return this.#blobCounts[number]!;
  }

  has(number: number, flag: number): boolean {
    return (this.#flags[number]! & flag) !== 0;
  }

  set(number: number, flag: number): void {
    this.#flags[number]! |= flag;
  }

  /** Takes a flag from the first `count` packs. */
  clear(flag: number, count: number = this.count): void {
    for (let number = 0; number < count; number++) this.#flags[number]! &= ~flag;
  }

  /** Known to the repository's index, not condemned, and listed where that is asked for. */
  isUsable(number: number, mustBeListed: boolean): boolean {
    const flags = this.#flags[number]!;
    return (
      (flags & (packIndexed | packOwn)) !== 0 &&
      (flags & packHidden) === 0 &&
      (!mustBeListed || (flags & packListed) !== 0)
    );
  }

  #hasName(number: number, name: Uint8Array): boolean {
    return compareIds(this.#names, number * idBytes, name, 0) === 0;
  }

  #slotOf(name: Uint8Array): number {
    return readU32(name, 0) & (this.#slots.length - 1);
  }

  #after(slot: number): number {
    return (slot + 1) & (this.#slots.length - 1);
  }

  #grow(): void {
    this.#names = grown(this.#names);
    this.#facts = grown(this.#facts);
    this.#sizes = grown(this.#sizes);
    this.#blobCounts = grown(this.#blobCounts);
    this.#classes = grown(this.#classes);
    this.#flags = grown(this.#flags);
    this.#slots = new Uint32Array(this.#slots.length * 2);
    for (let number = 0; number < this.count; number++) {
      let slot = this.#slotOf(this.#names.subarray(number * idBytes, (number + 1) * idBytes));
      while (this.#slots[slot] !== 0) slot = this.#after(slot);
      this.#slots[slot] = number + 1;
    }
  }
}

function grown<T extends Uint8Array<ArrayBuffer> | Uint32Array<ArrayBuffer>>(array: T): T {
  const larger = new (array.constructor as new (length: number) => T)(array.length * 2);
  larger.set(array);
  return larger;
}
