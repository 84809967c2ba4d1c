/**
 * Where every blob lies: the repository's index objects, taken into sorted runs in the cache folder,
 * and beside them what this process is storing.
 *
 * Lookups are synchronous and never throw. A bucket of the cache that was hurt answers "not here" and
 * clears `isIntact`: a miss is final only while that is true; otherwise, as after any miss of a reader
 * (R9), `refresh` and look again.
 */
import type { BackupKeys } from "../../crypto/index.ts";
import { toHex } from "../../bytes.ts";
import { BackendError } from "../../errors.ts";
import type { ObjectInfo, Storage } from "../../storage/index.ts";
import type { BlobClass, IndexedPack } from "../format/index.ts";
import { BlobSearch } from "./blob-search.ts";
import { CacheFolder } from "./cache-folder.ts";
import { FreshTable } from "./fresh-table.ts";
import {
  IndexIntake,
  type DamagedObject,
  type IndexObjectInfo,
  type ProtocolObjectInfo,
} from "./index-intake.ts";
import { cheapest, type BlobLocation } from "./location.ts";
import { ObjectSource, type VerifySigned } from "./object-source.ts";
import {
  packHidden,
  packIndexed,
  packListed,
  packOwn,
  packTaken,
  PackTable,
  type PackClaim,
  type PackInfo,
} from "./pack-table.ts";
import { classBit, idBytes, prefixBytes } from "./record.ts";
import { packClaim, type BatchObject } from "./run-batch.ts";
import { RunSet } from "./run-set.ts";

/** More rounds of mending the cache than this mean that its folder forgets what is written to it. */
const mendRoundsMax = 3;

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

export class BlobIndex {
  readonly #folder: CacheFolder;
  readonly #onNote: (note: string) => void;
  readonly #table = new PackTable();
  readonly #fresh = new FreshTable();
  readonly #runs: RunSet;
  readonly #intake: IndexIntake;
  readonly #search: BlobSearch;
  readonly #hiddenNames = new Set<string>();
  #isRestricted = false;
  #dependsOnAll = false;
  #hasReleased = false;
  /** Changes of the runs wait for each other. */
  #lastChange: Promise<unknown> = Promise.resolve();

  private constructor(options: BlobIndexOptions) {
    const onNote = options.onNote ?? (() => undefined);
    const intern = (claim: PackClaim): number => this.#intern(claim);
    const { repoId, signal } = options;
    const table = this.#table;
    const folder = CacheFolder.open(options.cacheDir, repoId, onNote);
    this.#onNote = onNote;
    this.#folder = folder;
    this.#runs = new RunSet({ folder, table, repoId, intern, onNote, signal });
    this.#intake = new IndexIntake({
      source: new ObjectSource(options),
      table,
      runs: this.#runs,
      intern,
    });
    this.#search = new BlobSearch(this.#fresh, this.#runs, (pack) => this.#take(pack));
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
    return this.#intake.damaged;
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
    await this.#exclusively(async () => {
      await this.#intake.refresh();
      this.#freeStored();
    });
  }

  /** Reads the whole cache against its checksums and mends it: for those who delete on the strength of a miss. */
  async ensureIntact(): Promise<void> {
    for (let round = 0; !this.#runs.verify() && round < mendRoundsMax; round++)
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
   * Gives packs up that a mark names, unless something was found in one of them: then what this process
   * stores may depend on it. What is given up is unusable from now on.
   */
  release(names: readonly string[]): boolean {
    const isTaken = names.some((name) =>
      this.#table.numbersOf(name).some((number) => this.#table.has(number, packTaken)),
    );
    if (isTaken || this.#dependsOnAll) return false;
    this.hidePacks(names);
    this.#hasReleased = true;
    return true;
  }

  /**
   * For who takes over without asking for each blob: from now on nothing is released.
   * @returns false when something was: then each blob must be asked for
   */
  dependOnAll(): boolean {
    if (this.#hasReleased) return false;
    this.#dependsOnAll = true;
    return true;
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

  /** Whether a usable pack holds the blob, and usable packs its bases: what a writer may rest on. */
  has(cls: BlobClass, ids: Uint8Array, at = 0): boolean {
    return this.#search.has(cls, ids, at);
  }

  /** The usable place that costs least to read: plain forms before deltas, shallow ones first. */
  lookup(cls: BlobClass, ids: Uint8Array, at = 0): BlobLocation | undefined {
    return cheapest(this.#search.all(cls, ids, at, idBytes));
  }

  /** As `lookup`, of places whose bases are usable, too: what a delta may be made against. */
  lookupWhole(cls: BlobClass, ids: Uint8Array): BlobLocation | undefined {
    const places = this.#search.all(cls, ids, 0, idBytes);
    return cheapest(places.filter((place) => this.#search.isWhole(cls, place)));
  }

  /** Every usable place. */
  lookupAll(cls: BlobClass, ids: Uint8Array, at = 0): BlobLocation[] {
    return this.#search.all(cls, ids, at, idBytes);
  }

  /**
   * Every place that may still be readable, those that are not usable last: for readers, who may need
   * what a mark names until it is swept.
   */
  lookupReadable(cls: BlobClass, ids: Uint8Array, at = 0): BlobLocation[] {
    const isReadable = (pack: number): boolean =>
      this.#table.has(pack, packIndexed) || this.#table.has(pack, packOwn);
    return this.#search
      .all(cls, ids, at, idBytes, isReadable)
      .sort((a, b) => Number(this.usable(b.pack)) - Number(this.usable(a.pack)));
  }

  /** Every usable place of every id that begins with the 8 bytes by which index entries name bases (R21). */
  lookupPrefix(cls: BlobClass, prefix: Uint8Array): BlobLocation[] {
    return this.#search.all(cls, prefix, 0, prefixBytes);
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
  protocolObjects(): ProtocolObjectInfo[] {
    return this.#intake.protocolObjects();
  }

  /** Index objects as last listed, from the cache. */
  indexObjects(): IndexObjectInfo[] {
    return this.#intake.indexObjects();
  }

  /**
   * Streams index objects from the storage: for prune, check and repair. Damaged ones are left out and
   * stand in `damaged`; vanished ones are made up for by listing again.
   * @param names  only these; absent: all
   */
  objects(names?: ReadonlySet<string>): AsyncGenerator<BatchObject> {
    return this.#intake.objects(names);
  }

  /** Notes that this run stores an id. @returns false when it is known or noted already: there is nothing to store */
  addPending(cls: BlobClass, ids: Uint8Array, at = 0): boolean {
    if (this.#search.has(cls, ids, at) || this.#search.isPending(cls, ids, at)) return false;
    this.#fresh.addPending(classBit(cls), ids, at);
    return true;
  }

  /** The pack is durable: its blobs can be found from now on. Keeps `pack` until `adopt`. */
  addPack(pack: IndexedPack): void {
    const number = this.#intern(packClaim(pack));
    this.#table.set(number, packOwn);
    this.#table.set(number, packListed);
    this.#fresh.addPack(number, pack);
  }

  /** Takes in an index object that this process has just stored, and frees the memory of its packs. */
  async adopt(stored: BatchObject): Promise<void> {
    await this.#exclusively(async () => {
      try {
        await this.#intake.adopt(stored);
      } catch (error) {
        if (!(error instanceof BackendError)) throw error;
        this.#onNote(`${error.message}; what this run stored stays in memory`);
      }
      this.#freeStored();
    });
  }

  close(): void {
    this.#runs.close();
    this.#folder.close();
  }

  #take(pack: number): boolean {
    if (!this.usable(pack)) return false;
    this.#table.set(pack, packTaken);
    return true;
  }

  #exclusively<T>(change: () => Promise<T>): Promise<T> {
    const result = this.#lastChange.then(change);
    this.#lastChange = result.catch(() => undefined);
    return result;
  }

  /** Forgets what the runs hold by now. */
  #freeStored(): void {
    const stored = [...this.#fresh.packNumbers()].filter((pack) => this.#runs.isStored(pack));
    if (stored.length > 0) this.#fresh.dropPacks(new Set(stored));
  }

  #intern(claim: PackClaim): number {
    const number = this.#table.intern(claim);
    if (this.#hiddenNames.size > 0 && this.#hiddenNames.has(toHex(claim.name)))
      this.#table.set(number, packHidden);
    return number;
  }
}
