/** Gathers index objects for one new run: the records of packs that no run holds yet, and who names which packs. */
import type { IndexObject, IndexedPack } from "../format/index.ts";
import { ImportBuffer } from "./import-buffer.ts";
import { factsDigest } from "./pack-facts.ts";
import type { PackClaim, PackTable } from "./pack-table.ts";
import { classBit } from "./record.ts";
import type { RunObject, RunPack } from "./run-layout.ts";
import { RunWriter } from "./run-writer.ts";

/** Numbers packs within a run that is being made, by their numbers in the process. */
export class RunPacks {
  readonly list: RunPack[] = [];
  readonly #table: PackTable;
  readonly #places = new Map<number, number>();

  constructor(table: PackTable) {
    this.#table = table;
  }

  place(number: number): number {
    let place = this.#places.get(number);
    if (place === undefined) {
      place = this.list.push({ ...this.#table.claim(number), hasRecords: false }) - 1;
      this.#places.set(number, place);
    }
    return place;
  }

  /** Says that the pack's records stand in this run. */
  holdRecords(number: number): number {
    const place = this.place(number);
    this.list[place] = { ...this.list[place]!, hasRecords: true };
    return place;
  }

  hasRecords(number: number): boolean {
    const place = this.#places.get(number);
    return place !== undefined && this.list[place]!.hasRecords;
  }
}

export interface BatchObject {
  readonly name: string;
  readonly size: number;
  readonly writerId: string;
  readonly object: IndexObject;
}

export class RunBatch {
  readonly #packs: RunPacks;
  readonly #objects: RunObject[] = [];
  readonly #buffer: ImportBuffer;

  /** @param buffer  emptied and used; tens of MiB that a next batch may use again */
  constructor(table: PackTable, buffer = new ImportBuffer()) {
    buffer.clear();
    this.#packs = new RunPacks(table);
    this.#buffer = buffer;
  }

  get recordCount(): number {
    return this.#buffer.count;
  }

  get isEmpty(): boolean {
    return this.#objects.length === 0;
  }

  /**
   * @param intern    gives a claim its number in the process
   * @param isStored  whether a run holds the records of a pack already
   */
  add(
    { name, size, writerId, object }: BatchObject,
    intern: (claim: PackClaim) => number,
    isStored: (pack: number) => boolean,
  ): void {
    const packs = new Uint32Array(object.packs.length);
    for (const [i, pack] of object.packs.entries()) {
      const number = intern(packClaim(pack));
      packs[i] = this.#packs.place(number);
      if (isStored(number) || this.#packs.hasRecords(number)) continue;
      this.#buffer.add(pack, this.#packs.holdRecords(number));
    }
    this.#objects.push({ name, size, writerId, replaces: object.replaces, packs });
  }

  /** Writes the run. @returns its file name */
  write(fd: number, repoId: Uint8Array): string {
    const writer = new RunWriter(fd, repoId, this.#packs.list, this.#objects);
    this.#buffer.forEachSorted((records, at, pack, bases, basesAt) => {
      writer.add(records, at, pack, bases, basesAt);
    });
    return writer.finish();
  }
}

export function packClaim(pack: IndexedPack): PackClaim {
  return {
    name: pack.name,
    facts: factsDigest(pack),
    size: pack.size,
    blobCount: pack.count,
    classBit: classBit(pack.cls),
  };
}
