/**
 * Where every blob lies: the repository's index objects, taken into sorted runs in the cache folder,
 * and beside them what this process is storing.
 *
 * Lookups are synchronous and never throw. A bucket of the cache that was hurt answers "not here" and
 * clears `isIntact`: a miss is final only while that is true; otherwise, as after any miss of a reader
 * (R9), `refresh` and look again.
 */
import type { BackupKeys } from "../../crypto/index.ts";
import { BackendError, CorruptionError, type StoreError } from "../../errors.ts";
import type { ObjectInfo, Storage } from "../../storage/index.ts";
import type { BlobClass, IndexedPack } from "../format/index.ts";
import { CacheFolder } from "./cache-folder.ts";
import { fetchAhead } from "./fetch-ahead.ts";
import { Probe } from "./filter.ts";
import { FreshTable } from "./fresh-table.ts";
import { cheapest, freshLocation, runLocation, type BlobLocation } from "./location.ts";
import { ObjectSource, type ProtocolKind, type VerifySigned } from "./object-source.ts";
import {
  packHidden,
  packIndexed,
  packListed,
  packOwn,
  PackTable,
  type PackClaim,
  type PackInfo,
} from "./pack-table.ts";
import { classBit, idBytes, noPack, prefixBytes, recordClassBit } from "./record.ts";
import { packClaim, RunBatch, type BatchObject } from "./run-batch.ts";
import { RunSet } from "./run-set.ts";
import { recordAt } from "./run.ts";
import { toHex } from "../../bytes.ts";

/** Records gathered before a run is written; with the largest object on top, some 40 MiB. */
const batchRecordsMax = 262_144;
/** Collectors may delete while we read: list again, but not for ever. */
const listRoundsMax = 5;

export interface BlobIndexOptions {
  readonly storage: Storage;
  readonly keys: BackupKeys;
  readonly repoId: Uint8Array;
  /** Shared by all processes of a host; undefined: a private one, deleted by `close`. */
  readonly cacheDir: string | undefined;
  readonly verify: VerifySigned;
  readonly signal?: AbortSignal | undefined;
  /** Told what the user may want to know: a cache that had to be rebuilt or cannot be written. */
  readonly onNote?: (note: string) => void;
}

/** An object that index/ lists and that is not what it should be; the rest of the index works without it. */
export interface DamagedObject {
  readonly name: string;
  readonly error: StoreError;
}

export interface IndexObjectInfo extends ObjectInfo {
  readonly writerId: string;
  readonly replaces: readonly string[];
}

export class BlobIndex {
  readonly #folder: CacheFolder;
  readonly #source: ObjectSource;
  readonly #onNote: (note: string) => void;
  readonly #table = new PackTable();
  readonly #fresh = new FreshTable();
  readonly #runs: RunSet;
  readonly #probe = new Probe();
  readonly #hiddenNames = new Set<string>();
  #listed: ReadonlyMap<string, ObjectInfo> = new Map();
  #protocol = new Map<string, ProtocolKind>();
  #damaged = new Map<string, StoreError>();
  #isRestricted = false;
  #publishedProtocol = "";
  /** Changes of the runs wait for each other. */
  #lastChange: Promise<unknown> = Promise.resolve();

  private constructor(options: BlobIndexOptions) {
    this.#onNote = options.onNote ?? (() => undefined);
    this.#folder = CacheFolder.open(options.cacheDir, options.repoId, this.#onNote);
    this.#source = new ObjectSource(options);
    this.#runs = new RunSet({
      folder: this.#folder,
      table: this.#table,
      repoId: options.repoId,
      intern: (claim) => this.#intern(claim),
      onNote: this.#onNote,
      signal: options.signal,
    });
  }

  static async open(options: BlobIndexOptions): Promise<BlobIndex> {
    const index = new BlobIndex(options);
    try {
      await index.refresh();
      return index;
    } catch (error) {
      index.close();
      throw error;
    }
  }

  /** False when a hurt part of the cache was met: misses are not final until `refresh`, which mends it. */
  get isIntact(): boolean {
    return this.#runs.isIntact;
  }

  /** Listed objects that could not be taken in, at the last refresh. */
  get damaged(): readonly DamagedObject[] {
    return [...this.#damaged].map(([name, error]) => ({ name, error }));
  }

  /** What it holds, for tests of its bounds and for `stats`. */
  get sizes(): {
    readonly runs: number;
    readonly records: number;
    readonly fresh: number;
    readonly packs: number;
  } {
    return {
      runs: this.#runs.runs.length,
      records: this.#runs.recordCount,
      fresh: this.#fresh.count,
      packs: this.#table.count,
    };
  }

  /** Lists index/ again: takes in what is new, drops what vanished, mends the cache. */
  async refresh(): Promise<void> {
    await this.#exclusively(() => this.#refresh());
  }

  /** Reads the whole cache against its checksums and mends it: for those who delete on the strength of a miss. */
  async ensureIntact(): Promise<void> {
    for (let round = 0; !this.#runs.verify() && round < listRoundsMax; round++)
      await this.refresh();
  }

  /** Packs that a mark names: they are unusable from now on, whatever says so later (R3). */
  hidePacks(names: Iterable<string>): void {
    for (const name of names) {
      this.#hiddenNames.add(name);
      for (const number of this.#table.numbersOf(name)) this.#table.set(number, packHidden);
    }
  }

  /**
   * From now on a pack is usable only if `names`, a listing of data/, has it with the size that the
   * index says, or this process stored it since. Writers call this before they reuse anything (R2).
   * Packs that a later `refresh` brings are unusable until it is called again.
   */
  async restrictToListed(names: AsyncIterable<ObjectInfo>): Promise<void> {
    const knownBefore = this.#table.count;
    const seen = new Uint8Array(knownBefore);
    for await (const { name, size } of names) {
      for (const number of this.#table.numbersOf(name)) {
        if (number < knownBefore && this.#table.size(number) === size) seen[number] = 1;
      }
    }
    this.#table.clear(packListed, knownBefore);
    for (const [number, isSeen] of seen.entries())
      if (isSeen === 1) this.#table.set(number, packListed);
    this.#isRestricted = true;
  }

  /** Whether a usable pack holds the blob. */
  has(cls: BlobClass, ids: Uint8Array, at = 0): boolean {
    const bit = classBit(cls);
    const probe = this.#probe.set(ids, at);
    for (
      let slot = this.#fresh.findSlot(bit, probe);
      slot !== -1;
      slot = this.#nextFresh(bit, slot)
    ) {
      const pack = this.#fresh.packAt(slot);
      if (pack !== noPack && this.usable(pack)) return true;
    }
    for (const run of this.#runs.runs) {
      for (let record = run.find(probe); record !== -1 && run.matches(record, probe); record++) {
        const pack = run.packOf(record);
        if (
          pack !== noPack &&
          recordClassBit(run.bucket, recordAt(record)) === bit &&
          this.usable(pack)
        )
          return true;
      }
    }
    return false;
  }

  /** The usable place that costs least to read: plain forms before deltas, shallow ones first. */
  lookup(cls: BlobClass, ids: Uint8Array, at = 0): BlobLocation | undefined {
    return cheapest(this.#collect(cls, ids, at, idBytes));
  }

  /** Every usable place. */
  lookupAll(cls: BlobClass, ids: Uint8Array, at = 0): BlobLocation[] {
    return this.#collect(cls, ids, at, idBytes);
  }

  /** Every usable place of every id that begins with the 8 bytes by which index entries name bases (R21). */
  lookupPrefix(cls: BlobClass, prefix: Uint8Array): BlobLocation[] {
    return this.#collect(cls, prefix, 0, prefixBytes);
  }

  packInfo(pack: number): PackInfo {
    return this.#table.info(pack);
  }

  /** @returns the first number of a name that index objects contradict each other about; `packNumbers` has all */
  packNumber(name: string): number | undefined {
    return this.packNumbers(name)[0];
  }

  packNumbers(name: string): number[] {
    return this.#table.numbersOf(name);
  }

  /** Packs that a listed index object names or this process stored, hidden and unlisted ones too. */
  *packs(): Generator<PackInfo & { readonly number: number }> {
    for (let number = 0; number < this.#table.count; number++) {
      if (this.#table.has(number, packIndexed) || this.#table.has(number, packOwn))
        yield { ...this.#table.info(number), number };
    }
  }

  /** One more than the highest pack number so far. */
  get packCount(): number {
    return this.#table.count;
  }

  blobCount(pack: number): number {
    return this.#table.blobCount(pack);
  }

  usable(pack: number): boolean {
    return this.#table.isUsable(pack, this.#isRestricted);
  }

  /** Objects in index/ that are not index objects, as last listed. */
  protocolObjects(): (ObjectInfo & { readonly kind: ProtocolKind })[] {
    return [...this.#protocol].flatMap(([name, kind]) => {
      const info = this.#listed.get(name);
      return info === undefined ? [] : [{ ...info, kind }];
    });
  }

  /** Index objects as last listed, from the cache. */
  indexObjects(): IndexObjectInfo[] {
    return [...this.#runs.objects.values()].flatMap(({ name, size, writerId, replaces }) =>
      this.#listed.has(name) ? [{ name, size, writerId, replaces }] : [],
    );
  }

  /**
   * Streams index objects from the storage: for prune, check and repair. Damaged ones are left out and
   * stand in `damaged`; vanished ones are made up for by listing again.
   * @param names  only these; absent: all
   */
  async *objects(names?: ReadonlySet<string>): AsyncGenerator<BatchObject> {
    const seen = new Set<string>();
    for (let round = 0; round < listRoundsMax; round++) {
      const listed = await this.#source.list();
      const isWanted = (name: string): boolean =>
        !seen.has(name) && !this.#protocol.has(name) && (names?.has(name) ?? true);
      const wanted = [...listed.values()].filter(({ name }) => isWanted(name));
      let hasVanished = false;
      for await (const fetched of fetchAhead(wanted, (info) => this.#source.fetch(info))) {
        const { name, size } = fetched.info;
        if (fetched.state === "vanished") hasVanished = true;
        else seen.add(name);
        if (fetched.state === "damaged") this.#damaged.set(name, fetched.error);
        if (fetched.state === "index")
          yield { name, size, writerId: fetched.writerId, object: fetched.object };
      }
      if (!hasVanished) return;
    }
  }

  /** Notes that this run stores an id. @returns false when it is known or noted already: there is nothing to store */
  addPending(cls: BlobClass, ids: Uint8Array, at = 0): boolean {
    const bit = classBit(cls);
    if (this.has(cls, ids, at)) return false;
    for (
      let slot = this.#fresh.findSlot(bit, this.#probe);
      slot !== -1;
      slot = this.#nextFresh(bit, slot)
    ) {
      if (this.#fresh.packAt(slot) === noPack) return false;
    }
    this.#fresh.addPending(bit, ids, at);
    return true;
  }

  /** The pack is durable: its blobs can be found from now on. Keeps `pack` until `adopt`. */
  addPack(pack: IndexedPack): void {
    const number = this.#intern(packClaim(pack));
    this.#table.set(number, packOwn);
    this.#table.set(number, packListed);
    this.#fresh.addPack(number, pack, classBit(pack.cls), this.#probe);
  }

  /** Takes in an index object that this process has just stored, and frees the memory of its packs. */
  async adopt(stored: BatchObject): Promise<void> {
    await this.#exclusively(async () => {
      const batch = new RunBatch(this.#table);
      this.#gather(batch, stored);
      this.#listed = new Map(this.#listed).set(stored.name, {
        name: stored.name,
        size: stored.size,
      });
      try {
        await this.#runs.store(batch);
      } catch (error) {
        if (!(error instanceof BackendError)) throw error;
        this.#onNote(`${error.message}; what this run stored stays in memory`);
      }
      this.#applyListed();
      const object = this.#runs.objects.get(stored.name);
      if (object !== undefined) this.#fresh.dropPacks(new Set(object.packs));
      await this.#tidy();
      this.#publish();
    });
  }

  close(): void {
    this.#runs.close();
    this.#folder.close();
  }

  #exclusively<T>(change: () => Promise<T>): Promise<T> {
    const result = this.#lastChange.then(change);
    this.#lastChange = result.catch(() => undefined);
    return result;
  }

  async #refresh(): Promise<void> {
    for (let round = 1; ; round++) {
      const cachedKinds = this.#runs.sync();
      this.#publishedProtocol = JSON.stringify(cachedKinds);
      for (const [name, kind] of Object.entries(cachedKinds)) this.#protocol.set(name, kind);
      const listed = await this.#source.list();
      const vanished = await this.#takeIn(listed);
      for (const { name } of vanished) listed.delete(name);
      this.#listed = listed;
      this.#applyListed();
      const isIntact = await this.#tidy();
      this.#publish();
      if ((vanished.length === 0 && isIntact) || round === listRoundsMax) {
        for (const { name } of vanished) {
          this.#damaged.set(
            name,
            new CorruptionError(`Cannot open index object ${name}: it is listed and not there`),
          );
        }
        return;
      }
    }
  }

  /** Fetches what is listed and not known. @returns what was gone by then */
  async #takeIn(listed: ReadonlyMap<string, ObjectInfo>): Promise<ObjectInfo[]> {
    this.#damaged = new Map();
    const vanished: ObjectInfo[] = [];
    const unknown = [...listed.values()].filter(
      ({ name }) => !this.#runs.objects.has(name) && !this.#protocol.has(name),
    );
    let batch = new RunBatch(this.#table);
    for await (const fetched of fetchAhead(unknown, (info) => this.#source.fetch(info))) {
      const { info } = fetched;
      if (fetched.state === "vanished") vanished.push(info);
      if (fetched.state === "damaged") this.#damaged.set(info.name, fetched.error);
      if (fetched.state === "protocol") this.#protocol.set(info.name, fetched.kind);
      if (fetched.state === "index")
        this.#gather(batch, { ...info, writerId: fetched.writerId, object: fetched.object });
      if (batch.recordCount >= batchRecordsMax) {
        await this.#runs.store(batch);
        this.#publish();
        batch = new RunBatch(this.#table);
      }
    }
    if (!batch.isEmpty) await this.#runs.store(batch);
    return vanished;
  }

  #gather(batch: RunBatch, object: BatchObject): void {
    batch.add(
      object,
      (claim) => this.#intern(claim),
      (pack) => this.#runs.isStored(pack),
    );
  }

  /** An object that is not listed says nothing: its packs exist only if another that is listed names them. */
  #applyListed(): void {
    this.#table.clear(packIndexed);
    for (const [name, { packs }] of this.#runs.objects) {
      if (this.#listed.has(name)) for (const pack of packs) this.#table.set(pack, packIndexed);
    }
    for (const name of this.#protocol.keys())
      if (!this.#listed.has(name)) this.#protocol.delete(name);
  }

  #tidy(): Promise<boolean> {
    return this.#runs.tidy((object) => this.#listed.has(object));
  }

  #publish(): void {
    const protocol = Object.fromEntries(this.#protocol);
    const text = JSON.stringify(protocol);
    if (!this.#runs.hasChanged && text === this.#publishedProtocol) return;
    this.#runs.publish(protocol);
    this.#publishedProtocol = text;
  }

  #intern(claim: PackClaim): number {
    const number = this.#table.intern(claim);
    if (this.#hiddenNames.size > 0 && this.#hiddenNames.has(toHex(claim.name)))
      this.#table.set(number, packHidden);
    return number;
  }

  #nextFresh(bit: number, slot: number, length: number = idBytes): number {
    return this.#fresh.findSlot(bit, this.#probe, length, this.#fresh.slotAfter(slot));
  }

  #collect(cls: BlobClass, ids: Uint8Array, at: number, length: number): BlobLocation[] {
    const bit = classBit(cls);
    const probe = this.#probe.set(ids, at);
    const found: BlobLocation[] = [];
    for (
      let slot = this.#fresh.findSlot(bit, probe, length);
      slot !== -1;
      slot = this.#nextFresh(bit, slot, length)
    ) {
      const pack = this.#fresh.packAt(slot);
      if (pack !== noPack && this.usable(pack)) found.push(freshLocation(this.#fresh, slot));
    }
    for (const run of this.#runs.runs) {
      for (
        let record = run.find(probe, length);
        record !== -1 && run.matches(record, probe, length);
        record++
      ) {
        const pack = run.packOf(record);
        if (
          pack === noPack ||
          recordClassBit(run.bucket, recordAt(record)) !== bit ||
          !this.usable(pack)
        )
          continue;
        found.push(runLocation(run, record, pack));
      }
    }
    return found;
  }
}
