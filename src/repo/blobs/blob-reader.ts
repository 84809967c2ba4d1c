/**
 * Reads blobs by id: finds every place that has one, opens it, and believes it by its id alone.
 *
 * A blob is lost only when none of its locations can be opened (R14). A pack that is gone makes the
 * reader look at the index once more before it gives up (R9). A delta's base is read only from a
 * form of smaller depth, so that two deltas against each other are refused, not followed (R1).
 */
import { toHex } from "../../bytes.ts";
import { CorruptionError } from "../../errors.ts";
import {
  createIdHasher,
  loadSodium,
  PackOpener,
  type BlobClass,
  type FullKeys,
} from "../../crypto/index.ts";
import type { Storage } from "../../storage/index.ts";
import type { BlobIndex, BlobLocation } from "../blob-index/index.ts";
import { deltaDepthMax, idBytes, type BlobForm, type DeltaBlob } from "../format/index.ts";
import {
  BulkRestore,
  type BlobWrite,
  type RestoreOptions,
  type RestoreStats,
} from "./bulk-restore.ts";
import type { ThreadEntry } from "./executor.ts";
import { laneEntry } from "./lane-entry.ts";
import { BlobDecoder } from "./open-blob.ts";
import { PackSecrets } from "./pack-secrets.ts";
import { PlainCache } from "./plain-cache.ts";
import { ReadAhead, type BlobGroup } from "./read-ahead.ts";
import { RestorePool } from "./restore-pool.ts";
import { SharedSlab } from "./shared-slab.ts";
import { openZstd } from "./zstd.ts";

export interface BlobReaderOptions {
  readonly storage: Storage;
  readonly keys: FullKeys;
  readonly repoId: Uint8Array;
  readonly index: Pick<
    BlobIndex,
    "lookup" | "lookupReadable" | "lookupPrefix" | "packInfo" | "refresh"
  >;
  /** Threads of a restore, started when first needed; 0 does everything in this one. */
  readonly lanes: number;
  readonly signal?: AbortSignal | undefined;
  /** Of plain blobs that are kept for the next who asks. */
  readonly cacheBytes?: number;
  readonly entry?: ThreadEntry;
}

/** What a file or disk should hold at an offset. */
export interface VerifyRange {
  readonly offset: number;
  readonly length: number;
  readonly id: Uint8Array;
}

/** A blob in the form in which it is stored, its seal opened, and what it holds, its id checked. */
export interface StoredForm {
  readonly plain: Uint8Array;
  readonly form: BlobForm;
  readonly depth: number;
  /** What the seal held: raw bytes, a zstd frame, or a delta with its bases' ids before it. */
  readonly opened: Uint8Array;
  /** What it is a delta of; undefined for the other forms. */
  readonly delta: DeltaBlob | undefined;
}

/** Where plain bytes are written; undefined: in memory of their own. */
type Room = (bytes: number) => Uint8Array | undefined;
const ownRoom: Room = () => undefined;

const cacheBytesDefault = 16 * 1024 * 1024;
const verifyRangesPerJob = 256;

export class BlobReader {
  readonly #options: BlobReaderOptions;
  readonly #secrets: PackSecrets;
  readonly #decoder: BlobDecoder;
  readonly #cache: PlainCache;
  readonly #shared = new SharedSlab();
  readonly #ahead: ReadAhead;
  readonly #reading = new Map<string, Promise<Uint8Array>>();
  /** Packs that were missing when the index was last looked at: a second look changes nothing. */
  readonly #missingPacks = new Set<string>();
  #lookedForUnknown = false;
  #refreshing: Promise<void> | undefined;
  /** How often the index was looked at again. */
  #looks = 0;
  #pool: RestorePool | undefined;

  static async open(options: BlobReaderOptions): Promise<BlobReader> {
    await loadSodium();
    return new BlobReader(options);
  }

  private constructor(options: BlobReaderOptions) {
    this.#options = options;
    this.#secrets = new PackSecrets(options);
    // The level is of no account to a reader.
    this.#decoder = new BlobDecoder(createIdHasher(options.keys), openZstd("auto"));
    this.#cache = new PlainCache(options.cacheBytes ?? cacheBytesDefault);
    this.#ahead = new ReadAhead({
      storage: options.storage,
      index: options.index,
      secrets: this.#secrets,
      signal: options.signal,
      place: (cls, id) => this.#locations(cls, id, deltaDepthMax + 1)[0],
    });
  }

  readTree(id: Uint8Array): Promise<Uint8Array> {
    return this.readBlob("tree", id);
  }

  /** @returns plain bytes, shared with others who ask: not to be changed @throws {CorruptionError} */
  readBlob(cls: BlobClass, id: Uint8Array): Promise<Uint8Array> {
    return this.#read(cls, id, deltaDepthMax + 1);
  }

  /**
   * A chunk that goes to a lane: what is shared is not copied on the way. For nobody else: a slab is
   * kept by its last piece, and freed late.
   */
  readBase(id: Uint8Array): Promise<Uint8Array> {
    return this.#read("data", id, deltaDepthMax + 1, (bytes) => this.#shared.take(bytes));
  }

  /** As it is stored: for who seals it again elsewhere. @throws {CorruptionError} */
  readForm(cls: BlobClass, id: Uint8Array): Promise<StoredForm> {
    return this.#readAnywhere(cls, id, deltaDepthMax + 1, ownRoom);
  }

  /** Divides blobs that will be read into such as lie near each other; see read-ahead.ts. */
  groups(cls: BlobClass, ids: readonly Uint8Array[]): BlobGroup[] {
    return this.#ahead.groups(cls, ids);
  }

  /** Reads a group with few requests; until this is disposed of, its blobs are read from there. */
  hold(group: BlobGroup): Promise<Disposable> {
    return this.#ahead.hold(group);
  }

  /** Nodes that will be read before this is disposed of, fetched together. */
  async holdTrees(ids: readonly Uint8Array[]): Promise<Disposable> {
    const held = await Promise.all(this.groups("tree", ids).map((group) => this.hold(group)));
    return {
      [Symbol.dispose]: () => {
        for (const group of held) group[Symbol.dispose]();
      },
    };
  }

  /** Writes blobs to where they belong, in any order; see bulk-restore.ts. */
  restoreInto(
    writes: AsyncIterable<BlobWrite> | Iterable<BlobWrite>,
    options: RestoreOptions = {},
  ): Promise<RestoreStats> {
    const { storage, index, signal } = this.#options;
    const bulk = new BulkRestore({
      storage,
      index,
      signal,
      secrets: this.#secrets,
      pool: this.#lanes(),
      read: (cls, id) => this.readBlob(cls, id),
    });
    return bulk.run(writes, options);
  }

  /** @returns a 1 for each range that holds the content of its id already; unreadable ones do not */
  async verifyRanges(fd: number, ranges: readonly VerifyRange[]): Promise<Uint8Array> {
    const pool = this.#lanes();
    const equal = new Uint8Array(ranges.length);
    const jobs: Promise<void>[] = [];
    for (let from = 0; from < ranges.length; from += verifyRangesPerJob) {
      const some = ranges.slice(from, from + verifyRangesPerJob);
      const ids = new Uint8Array(some.length * idBytes);
      some.forEach((range, row) => {
        ids.set(range.id, row * idBytes);
      });
      const job = pool.verify({
        fd,
        offsets: Float64Array.from(some, (range) => range.offset),
        lengths: Uint32Array.from(some, (range) => range.length),
        ids,
      });
      const kept = job.then((answer) => {
        equal.set(answer.equal, from);
      });
      jobs.push(kept);
    }
    await Promise.all(jobs);
    return equal;
  }

  async close(): Promise<void> {
    await this.#pool?.close();
  }

  #lanes(): RestorePool {
    const { keys, repoId, lanes } = this.#options;
    this.#pool ??= new RestorePool(
      { keys: { dataIdKey: keys.dataIdKey, treeIdKey: keys.treeIdKey }, repoId },
      Math.max(1, lanes),
      lanes === 0 ? undefined : (this.#options.entry ?? laneEntry()),
    );
    return this.#pool;
  }

  /**
   * Single flight by id and depth. Who waits for a flight of some depth was itself asked for a greater
   * one, so flights never wait in a circle.
   */
  async #read(
    cls: BlobClass,
    id: Uint8Array,
    depthBelow: number,
    room: Room = ownRoom,
  ): Promise<Uint8Array> {
    const cached = this.#cache.get(cls, id);
    if (cached !== undefined) return cached;
    const flight = `${cls} ${toHex(id)} ${depthBelow}`;
    const reading =
      this.#reading.get(flight) ??
      this.#readAnywhere(cls, id, depthBelow, room).then((stored) => stored.plain);
    this.#reading.set(flight, reading);
    try {
      const plain = await reading;
      this.#cache.put(cls, id, plain);
      return plain;
    } finally {
      this.#reading.delete(flight);
    }
  }

  async #readAnywhere(
    cls: BlobClass,
    id: Uint8Array,
    depthBelow: number,
    room: Room,
  ): Promise<StoredForm> {
    const faults: CorruptionError[] = [];
    const tried = new Set<string>();
    for (;;) {
      const missing: string[] = [];
      const looks = this.#looks;
      for (const location of this.#locations(cls, id, depthBelow)) {
        const pack = this.#options.index.packInfo(location.pack).name;
        const place = `${location.pack} ${location.ordinal}`;
        if (tried.has(place)) continue;
        tried.add(place);
        try {
          const stored = await this.#readAt(cls, id, pack, location, room);
          if (stored !== undefined) return stored;
          missing.push(pack);
        } catch (error) {
          if (!(error instanceof CorruptionError)) throw error;
          faults.push(error);
        }
      }
      for (const pack of missing)
        faults.push(new CorruptionError(`Cannot read pack ${pack}: it is missing`));
      if (!(await this.#lookAgain(missing, tried.size === 0, looks))) break;
    }
    throw lost(cls, id, faults);
  }

  #locations(cls: BlobClass, id: Uint8Array, depthBelow: number): BlobLocation[] {
    return this.#options.index
      .lookupReadable(cls, id)
      .filter((location) => location.depth < depthBelow)
      .sort((a, b) => a.depth - b.depth);
  }

  /** @returns undefined when the pack is missing */
  async #readAt(
    cls: BlobClass,
    id: Uint8Array,
    pack: string,
    location: BlobLocation,
    room: Room,
  ): Promise<StoredForm | undefined> {
    const held = this.#ahead.find(location);
    if (held !== undefined) {
      try {
        return await this.#open(cls, id, pack, location, held, room);
      } catch (error) {
        // Read anew, singly: it may have been damaged on its way.
        if (!(error instanceof CorruptionError)) throw error;
      }
    }
    const { storage, signal } = this.#options;
    const range = { offset: location.offset, length: location.sealedLength };
    const [opened, sealed] = await Promise.all([
      this.#secrets.get(pack),
      storage.get("data", pack, range, { signal }),
    ]);
    if (opened === undefined || sealed === undefined) return undefined;
    return this.#open(cls, id, pack, location, sealed, room);
  }

  async #open(
    cls: BlobClass,
    id: Uint8Array,
    pack: string,
    location: BlobLocation,
    sealed: Uint8Array,
    room: Room,
  ): Promise<StoredForm | undefined> {
    const opened = await this.#secrets.get(pack);
    if (opened === undefined) return undefined;
    const blob = { ...location, id };
    const opener = new PackOpener(opened.secret, this.#options.repoId, opened.cls);
    try {
      const into = room(location.plainLength);
      const bytes = opener.openBlob(blob, sealed);
      const decoded = this.#decoder.decode(cls, blob, bytes, into);
      const stored = { form: location.form as BlobForm, depth: location.depth, opened: bytes };
      if (decoded instanceof Uint8Array) return { ...stored, plain: decoded, delta: undefined };
      const bases = await Promise.all(
        decoded.bases.map((base) => this.#read(cls, base.id, location.depth)),
      );
      const plain = this.#decoder.applyDelta(cls, blob, decoded, bases, into);
      return { ...stored, plain, delta: decoded };
    } catch (cause) {
      if (!(cause instanceof CorruptionError)) throw cause;
      const what = `blob ${toHex(id)} in pack ${pack} at offset ${location.offset}`;
      throw new CorruptionError(`Cannot read ${what}: ${cause.message}`, { cause });
    } finally {
      opener.wipe();
    }
  }

  /**
   * @param looks  how often the index had been looked at again when the places were asked for
   * @returns true when it has been since, and may say something new
   */
  async #lookAgain(
    missing: readonly string[],
    isUnknown: boolean,
    looks: number,
  ): Promise<boolean> {
    if (missing.length === 0 && !isUnknown) return false;
    if (this.#looks > looks) return true;
    // Another read met the same, and is looking already.
    if (this.#refreshing !== undefined) {
      await this.#refreshing;
      return true;
    }
    const news = missing.filter((pack) => !this.#missingPacks.has(pack));
    const firstUnknown = isUnknown && !this.#lookedForUnknown;
    if (news.length === 0 && !firstUnknown) return false;
    for (const pack of news) this.#missingPacks.add(pack);
    if (isUnknown) this.#lookedForUnknown = true;
    this.#refreshing = this.#options.index.refresh().finally(() => {
      this.#refreshing = undefined;
      this.#looks++;
    });
    await this.#refreshing;
    return true;
  }
}

function lost(cls: BlobClass, id: Uint8Array, faults: readonly CorruptionError[]): CorruptionError {
  const what = `${cls} blob ${toHex(id)}`;
  if (faults.length === 0) {
    return new CorruptionError(`Cannot read ${what}: no pack that is listed holds it`);
  }
  if (faults.length === 1) {
    return new CorruptionError(`Cannot read ${what}: ${faults[0]!.message}`, { cause: faults[0] });
  }
  return new CorruptionError(
    `Cannot read ${what}: none of its ${faults.length} places can be read; first: ${faults[0]!.message}`,
    { cause: new AggregateError(faults) },
  );
}
