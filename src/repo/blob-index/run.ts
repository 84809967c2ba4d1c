/** An open run file: the filter and fan-out table in memory, everything else one small read away. */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { crc32 } from "node:zlib";
import { filterMayContain, type Probe } from "./filter.ts";
import {
  compareIds,
  idBytes,
  noPack,
  prefixBytes,
  readU32,
  recordBaseCount,
  recordBaseFirst,
  recordBytes,
  recordPack,
} from "./record.ts";
import {
  bucketHeaderBytes,
  bucketOf,
  CacheDamage,
  checkCache,
  decodeHeader,
  decodeTables,
  headerBytes,
  sections,
  type RunHeader,
  type RunObject,
  type RunPack,
} from "./run-layout.ts";

/** Up to this size a run's buckets are read at once: 100,000 chunks. A few such runs are open at most. */
const wholeBytesMost = 4 * 1024 * 1024;

export class Run {
  readonly fileName: string;
  readonly header: RunHeader;
  /** Per pack of the run its number in this process, or `noPack` where another run's records count. */
  toGlobal = new Uint32Array(0);
  /** The same without regard to who counts. */
  packNumbers = new Uint32Array(0);
  /** A bucket did not have its checksum: lookups saw nothing there, the run must be replaced. */
  damaged = false;
  /** The bucket that was looked at last: records, then base prefixes, behind 8 bytes of header. */
  bucket: Uint8Array = new Uint8Array(16_384);
  recordCount = 0;
  readonly #fd: number;
  readonly #fanout: Uint8Array;
  readonly #filter: Uint8Array;
  readonly #bucketsAt: number;
  #loaded = -1;
  /** All buckets, of a run that is small. */
  #whole: Uint8Array | undefined;

  private constructor(
    fileName: string,
    fd: number,
    header: RunHeader,
    fanout: Uint8Array,
    filter: Uint8Array,
  ) {
    this.fileName = fileName;
    this.header = header;
    this.#fd = fd;
    this.#fanout = fanout;
    this.#filter = filter;
    this.#bucketsAt = sections(header).buckets;
  }

  /**
   * Opens a run and checks all of it but its buckets, which are checked as they are read.
   * @throws {CacheDamage} for a file that is not a whole run of this repository
   */
  static open(
    path: string,
    fileName: string,
    repoId: Uint8Array,
  ): { run: Run; packs: RunPack[]; objects: RunObject[] } {
    let fd: number;
    try {
      fd = openSync(path, "r");
    } catch (error) {
      throw new CacheDamage(`cannot open run: ${String(error)}`);
    }
    try {
      const header = decodeHeader(readAt(fd, 0, headerBytes), repoId);
      const at = sections(header);
      checkCache(fstatSync(fd).size === at.end, "run is cut off");
      const fanout = readChecked(fd, at.fanout, 4 * (2 ** header.fanoutBits + 1), header.fanoutCrc);
      const filter = readChecked(fd, at.filter, header.filterBlocks * 64, header.filterCrc);
      const { packs, objects } = decodeTables(
        readChecked(fd, at.tables, header.tablesLength, header.tablesCrc),
      );
      const records = packs.reduce((sum, pack) => sum + (pack.hasRecords ? pack.blobCount : 0), 0);
      checkCache(
        records === header.recordCount,
        "run holds another count of records than its packs",
      );
      const run = new Run(fileName, fd, header, fanout, filter);
      return { run, packs, objects };
    } catch (error) {
      closeSync(fd);
      if (error instanceof CacheDamage) throw error;
      throw new CacheDamage(`cannot read run: ${String(error)}`);
    }
  }

  mayContain(probe: Probe): boolean {
    return filterMayContain(this.#filter, this.header.filterBlocks, probe);
  }

  /**
   * Finds the first record whose id (`length` 32) or prefix (8) is the probe's; equal ones follow it.
   * @returns its number in `bucket`, or -1
   */
  find(probe: Probe, length: number = idBytes): number {
    if (this.damaged || !this.mayContain(probe)) return -1;
    if (!this.#load(bucketOf(probe.key, this.header.fanoutBits))) return -1;
    let low = 0;
    let high = this.recordCount;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compareIds(this.bucket, recordAt(middle), probe.ids, probe.at, length) < 0)
        low = middle + 1;
      else high = middle;
    }
    return this.#matches(low, probe, length) ? low : -1;
  }

  /** The record after a found one, if it is the probe's too; else -1. */
  next(record: number, probe: Probe, length: number = idBytes): number {
    return this.#matches(record + 1, probe, length) ? record + 1 : -1;
  }

  /** The process-wide number of a record's pack, or `noPack` when the record does not count. */
  packOf(record: number): number {
    return this.toGlobal[recordPack(this.bucket, recordAt(record))] ?? noPack;
  }

  /** Copies of the 8-byte prefixes of a record's bases. */
  basesOf(record: number): Uint8Array[] {
    return recordBases(this.bucket, recordAt(record), this.recordCount);
  }

  /** Buckets `from` up to the returned one, read at once and checked, each given to `each` as header-first bytes. */
  readBuckets(from: number, bytesMax: number, each: (bucket: Uint8Array) => void): number {
    const bucketCount = 2 ** this.header.fanoutBits;
    const begin = this.#start(from);
    let to = from + 1;
    while (to < bucketCount && this.#start(to + 1) - begin <= bytesMax) to++;
    const bytes = readAt(this.#fd, this.#bucketsAt + begin, this.#start(to) - begin);
    for (let number = from; number < to; number++) {
      const bucket = bytes.subarray(this.#start(number) - begin, this.#start(number + 1) - begin);
      checkBucket(bucket, number);
      each(bucket);
    }
    return to;
  }

  /** Reads every bucket. @returns whether all have their checksums; if not, the run is marked damaged */
  verify(): boolean {
    try {
      let records = 0;
      for (let at = 0; at < 2 ** this.header.fanoutBits;) {
        at = this.readBuckets(at, 1_048_576, (bucket) => (records += bucketRecordCount(bucket)));
      }
      checkCache(
        records === this.header.recordCount,
        "run holds another count of records than it says",
      );
    } catch {
      this.damaged = true;
    }
    return !this.damaged;
  }

  close(): void {
    closeSync(this.#fd);
  }

  #matches(record: number, probe: Probe, length: number): boolean {
    return (
      record < this.recordCount &&
      compareIds(this.bucket, recordAt(record), probe.ids, probe.at, length) === 0
    );
  }

  /** Bytes from the buckets' beginning; the fan-out table counts in eights. */
  #start(bucket: number): number {
    return readU32(this.#fanout, bucket * 4) * 8;
  }

  #load(number: number): boolean {
    if (this.#loaded === number) return true;
    this.#loaded = -1;
    const begin = this.#start(number);
    const length = this.#start(number + 1) - begin;
    try {
      checkCache(
        length >= 0 && begin + length <= this.header.bucketsLength,
        "bucket lies outside of the run",
      );
      const bucket = this.#readBucket(begin, length);
      checkBucket(bucket, number);
      this.recordCount = bucketRecordCount(bucket);
      this.#loaded = number;
    } catch {
      this.damaged = true;
    }
    return !this.damaged;
  }

  /** Leaves it at the beginning of `this.bucket`. */
  #readBucket(begin: number, length: number): Uint8Array {
    if (this.header.bucketsLength <= wholeBytesMost) {
      this.#whole ??= readAt(this.#fd, this.#bucketsAt, this.header.bucketsLength);
      this.bucket = this.#whole.subarray(begin, begin + length);
      return this.bucket;
    }
    if (length > this.bucket.length) this.bucket = new Uint8Array(length);
    const got =
      length === 0 ? 0 : readSync(this.#fd, this.bucket, 0, length, this.#bucketsAt + begin);
    checkCache(got === length, "bucket is cut off");
    return this.bucket.subarray(0, length);
  }
}

export function recordAt(record: number): number {
  return bucketHeaderBytes + record * recordBytes;
}

export function bucketRecordCount(bucket: Uint8Array): number {
  return bucket.length === 0 ? 0 : readU32(bucket, 4);
}

/** @param at  where the record begins in its bucket, which holds `recordCount` of them */
export function recordBases(bucket: Uint8Array, at: number, recordCount: number): Uint8Array[] {
  const first = recordAt(recordCount) + recordBaseFirst(bucket, at) * prefixBytes;
  return Array.from({ length: recordBaseCount(bucket, at) }, (_, i) =>
    bucket.slice(first + i * prefixBytes, first + (i + 1) * prefixBytes),
  );
}

function checkBucket(bucket: Uint8Array, number: number): void {
  if (bucket.length === 0) return;
  checkCache(bucket.length >= bucketHeaderBytes, "bucket is too short");
  checkCache(readU32(bucket, 0) === crc32(bucket.subarray(4), number), "bucket checksum");
}

function readChecked(fd: number, at: number, length: number, crc: number): Uint8Array {
  const bytes = readAt(fd, at, length);
  checkCache(crc32(bytes) === crc, "run section checksum");
  return bytes;
}

function readAt(fd: number, at: number, length: number): Uint8Array {
  checkCache(length >= 0 && length < 2 ** 31, "run section length");
  const bytes = new Uint8Array(length);
  for (let have = 0; have < length;) {
    const got = readSync(fd, bytes, have, length - have, at + have);
    checkCache(got > 0, "run is cut off");
    have += got;
  }
  return bytes;
}
