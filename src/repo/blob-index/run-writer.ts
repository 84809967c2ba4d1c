/** Writes a run file as a stream of sorted records: memory is one bucket, whatever the count. */
import { createHash } from "node:crypto";
import { fsyncSync, writeSync } from "node:fs";
import { crc32 } from "node:zlib";
import { toHex } from "../../bytes.ts";
import { filterAdd, filterBlock, filterBlockBytes, filterBlockCount, Probe } from "./filter.ts";
import { prefixBytes, recordBaseCount, recordBytes, writeU32 } from "./record.ts";
import {
  bucketHeaderBytes,
  bucketOf,
  encodeHeader,
  encodeTables,
  fanoutBits,
  sections,
  type RunObject,
  type RunPack,
} from "./run-layout.ts";

const appendBytes = 262_144;

export class RunWriter {
  readonly #fd: number;
  readonly #repoId: Uint8Array;
  readonly #packs: readonly RunPack[];
  readonly #objects: readonly RunObject[];
  readonly #count: number;
  readonly #bits: number;
  readonly #blocks: number;
  readonly #fanout: Appender;
  readonly #filter: Appender;
  readonly #buckets: Appender;
  readonly #block = new Uint8Array(filterBlockBytes);
  readonly #probe = new Probe();
  #blockNumber = 0;
  #bucketNumber = 0;
  #records = new Uint8Array(64 * recordBytes);
  #bases = new Uint8Array(64 * prefixBytes);
  #recordsLength = 0;
  #basesLength = 0;
  #added = 0;

  /** @param packs  all packs that the records and objects name; those that `hasRecords` give the count of records */
  constructor(
    fd: number,
    repoId: Uint8Array,
    packs: readonly RunPack[],
    objects: readonly RunObject[],
  ) {
    this.#fd = fd;
    this.#repoId = repoId;
    this.#packs = packs;
    this.#objects = objects;
    this.#count = packs.reduce((sum, pack) => sum + (pack.hasRecords ? pack.blobCount : 0), 0);
    this.#bits = fanoutBits(this.#count);
    this.#blocks = filterBlockCount(this.#count);
    const at = sections({
      fanoutBits: this.#bits,
      filterBlocks: this.#blocks,
      bucketsLength: 0,
      tablesLength: 0,
    });
    this.#fanout = new Appender(fd, at.fanout);
    this.#filter = new Appender(fd, at.filter);
    this.#buckets = new Appender(fd, at.buckets);
    this.#fanout.appendU32(0);
  }

  /**
   * Takes the next record; ids must not fall.
   * @param pack   its pack's number in this run
   * @param bases  where its base prefixes lie back to back, from `basesAt`
   */
  add(bytes: Uint8Array, at: number, pack: number, bases: Uint8Array, basesAt: number): void {
    this.#probe.set(bytes, at);
    this.#turnToBucket(bucketOf(this.#probe.key, this.#bits));
    this.#turnToBlock(filterBlock(this.#probe.key, this.#blocks));
    filterAdd(this.#block, 0, this.#probe);

    if (this.#recordsLength === this.#records.length) this.#records = doubled(this.#records);
    this.#records.set(bytes.subarray(at, at + recordBytes), this.#recordsLength);
    writeU32(this.#records, this.#recordsLength + 32, pack);
    writeU32(this.#records, this.#recordsLength + 52, this.#basesLength / prefixBytes);
    this.#recordsLength += recordBytes;

    const basesLength = recordBaseCount(bytes, at) * prefixBytes;
    while (this.#basesLength + basesLength > this.#bases.length) this.#bases = doubled(this.#bases);
    this.#bases.set(bases.subarray(basesAt, basesAt + basesLength), this.#basesLength);
    this.#basesLength += basesLength;
    this.#added++;
  }

  /** Writes what is left, the header last. @returns the file's name, which follows from its content */
  finish(): string {
    if (this.#added !== this.#count)
      throw new Error(`run of ${this.#count} records got ${this.#added}`);
    this.#turnToBucket(2 ** this.#bits);
    this.#turnToBlock(this.#blocks);
    const tables = encodeTables(this.#packs, this.#objects);
    this.#fanout.flush();
    this.#filter.flush();
    this.#buckets.flush();
    const header = encodeHeader({
      repoId: this.#repoId,
      recordCount: this.#count,
      fanoutBits: this.#bits,
      filterBlocks: this.#blocks,
      tablesLength: tables.length,
      bucketsLength: this.#buckets.length,
      fanoutCrc: this.#fanout.crc,
      filterCrc: this.#filter.crc,
      tablesCrc: crc32(tables),
      bucketsCrc: this.#buckets.crc,
    });
    writeAll(this.#fd, tables, this.#buckets.position);
    writeAll(this.#fd, header, 0);
    fsyncSync(this.#fd);
    const hash = createHash("sha256").update(header).update(tables).digest();
    return `${toHex(hash.subarray(0, 16))}.run`;
  }

  #turnToBucket(number: number): void {
    if (number === this.#bucketNumber) return;
    this.#flushBucket();
    for (; this.#bucketNumber < number; this.#bucketNumber++)
      this.#fanout.appendU32(this.#buckets.length / 8);
  }

  #flushBucket(): void {
    if (this.#recordsLength === 0) return;
    const count = new Uint8Array(bucketHeaderBytes);
    writeU32(count, 4, this.#recordsLength / recordBytes);
    const records = this.#records.subarray(0, this.#recordsLength);
    const bases = this.#bases.subarray(0, this.#basesLength);
    writeU32(count, 0, crc32(bases, crc32(records, crc32(count.subarray(4), this.#bucketNumber))));
    for (const part of [count, records, bases]) this.#buckets.append(part);
    this.#recordsLength = 0;
    this.#basesLength = 0;
  }

  #turnToBlock(number: number): void {
    for (; this.#blockNumber < number; this.#blockNumber++) {
      this.#filter.append(this.#block);
      this.#block.fill(0);
    }
  }
}

/** Writes one section front to back through a buffer, and sums it. */
class Appender {
  length = 0;
  crc = 0;
  readonly #fd: number;
  readonly #at: number;
  readonly #buffer = new Uint8Array(appendBytes);
  #filled = 0;

  constructor(fd: number, at: number) {
    this.#fd = fd;
    this.#at = at;
  }

  /** Where the section's end lies in the file. */
  get position(): number {
    return this.#at + this.length;
  }

  append(bytes: Uint8Array): void {
    for (let from = 0; from < bytes.length;) {
      const part = bytes.subarray(from, from + this.#buffer.length - this.#filled);
      this.#buffer.set(part, this.#filled);
      this.#filled += part.length;
      this.length += part.length;
      from += part.length;
      if (this.#filled === this.#buffer.length) this.flush();
    }
  }

  appendU32(value: number): void {
    const bytes = new Uint8Array(4);
    writeU32(bytes, 0, value);
    this.append(bytes);
  }

  flush(): void {
    const filled = this.#buffer.subarray(0, this.#filled);
    writeAll(this.#fd, filled, this.position - this.#filled);
    this.crc = crc32(filled, this.crc);
    this.#filled = 0;
  }
}

function writeAll(fd: number, bytes: Uint8Array, position: number): void {
  for (let done = 0; done < bytes.length;)
    done += writeSync(fd, bytes, done, bytes.length - done, position + done);
}

function doubled(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const larger = new Uint8Array(bytes.length * 2);
  larger.set(bytes);
  return larger;
}
