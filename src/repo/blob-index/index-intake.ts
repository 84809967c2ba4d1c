/** Keeps the runs in step with the listing of index/: what is new is fetched, what vanished says nothing any more. */
import { CorruptionError, type StoreError } from "../../errors.ts";
import type { ObjectInfo } from "../../storage/index.ts";
import { fetchAhead } from "./fetch-ahead.ts";
import { ImportBuffer } from "./import-buffer.ts";
import { ObjectSource, type ProtocolKind } from "./object-source.ts";
import { packIndexed, type PackClaim, type PackTable } from "./pack-table.ts";
import { RunBatch, type BatchObject } from "./run-batch.ts";
import type { RunSet } from "./run-set.ts";

/** Records gathered before a run is written; with the largest object on top, some 40 MiB. */
const batchRecordsMax = 131_072;
/** Collectors may delete while we read: list again, but not for ever. */
const listRoundsMax = 5;

/** An object that index/ lists and that is not what it should be; the rest of the index works without it. */
export interface DamagedObject {
  readonly name: string;
  readonly error: StoreError;
}

export interface IndexObjectInfo extends ObjectInfo {
  readonly writerId: string;
  readonly replaces: readonly string[];
}

export interface ProtocolObjectInfo extends ObjectInfo {
  readonly kind: ProtocolKind;
}

export interface IndexIntakeOptions {
  readonly source: ObjectSource;
  readonly table: PackTable;
  readonly runs: RunSet;
  readonly intern: (claim: PackClaim) => number;
}

export class IndexIntake {
  readonly #source: ObjectSource;
  readonly #table: PackTable;
  readonly #runs: RunSet;
  readonly #intern: (claim: PackClaim) => number;
  #listed = new Map<string, ObjectInfo>();
  readonly #protocol = new Map<string, ProtocolKind>();
  readonly #damaged = new Map<string, StoreError>();
  #publishedProtocol = "";

  constructor({ source, table, runs, intern }: IndexIntakeOptions) {
    this.#source = source;
    this.#table = table;
    this.#runs = runs;
    this.#intern = intern;
  }

  get damaged(): DamagedObject[] {
    return [...this.#damaged].map(([name, error]) => ({ name, error }));
  }

  protocolObjects(): ProtocolObjectInfo[] {
    return [...this.#protocol].flatMap(([name, kind]) => {
      const info = this.#listed.get(name);
      return info === undefined ? [] : [{ ...info, kind }];
    });
  }

  indexObjects(): IndexObjectInfo[] {
    return [...this.#runs.objects.values()].flatMap(({ name, size, writerId, replaces }) =>
      this.#listed.has(name) ? [{ name, size, writerId, replaces }] : [],
    );
  }

  async refresh(): Promise<void> {
    for (let round = 1; ; round++) {
      // The cache first, the listing after: what others took in meanwhile is then listed too.
      const cachedKinds = this.#runs.sync();
      this.#publishedProtocol = JSON.stringify(cachedKinds);
      for (const [name, kind] of Object.entries(cachedKinds)) this.#protocol.set(name, kind);
      const listed = await this.#source.list();
      const vanished = await this.#takeIn(listed);
      for (const name of vanished) listed.delete(name);
      this.#listed = listed;
      this.#applyListed();
      const isIntact = await this.#tidy();
      this.#publish();
      if (vanished.length === 0 && isIntact) return;
      if (round < listRoundsMax) continue;
      for (const name of vanished) {
        const error = new CorruptionError(
          `Cannot open index object ${name}: it is listed and not there`,
        );
        this.#damaged.set(name, error);
      }
      return;
    }
  }

  /** Takes in an object that this process has just stored. @throws {BackendError} when no folder takes the run */
  async adopt(stored: BatchObject): Promise<void> {
    const batch = new RunBatch(this.#table);
    this.#gather(batch, stored);
    this.#listed.set(stored.name, { name: stored.name, size: stored.size });
    await this.#runs.store(batch);
    this.#applyListed();
    await this.#tidy();
    this.#publish();
  }

  /** See BlobIndex.objects. */
  async *objects(names: ReadonlySet<string> | undefined): AsyncGenerator<BatchObject> {
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

  /** Fetches what is listed and not known. @returns the names of what was gone by then */
  async #takeIn(listed: ReadonlyMap<string, ObjectInfo>): Promise<string[]> {
    this.#damaged.clear();
    const vanished: string[] = [];
    const isKnown = (name: string): boolean =>
      this.#runs.objects.has(name) || this.#protocol.has(name);
    const unknown = [...listed.values()].filter(({ name }) => !isKnown(name));
    const buffer = new ImportBuffer();
    let batch = new RunBatch(this.#table, buffer);
    for await (const fetched of fetchAhead(unknown, (info) => this.#source.fetch(info))) {
      const { name, size } = fetched.info;
      if (fetched.state === "vanished") vanished.push(name);
      if (fetched.state === "damaged") this.#damaged.set(name, fetched.error);
      if (fetched.state === "protocol") this.#protocol.set(name, fetched.kind);
      if (fetched.state !== "index") continue;
      this.#gather(batch, { name, size, writerId: fetched.writerId, object: fetched.object });
      if (batch.recordCount < batchRecordsMax) continue;
      await this.#runs.store(batch);
      // Published at once: a first open that is interrupted goes on from here.
      this.#publish();
      batch = new RunBatch(this.#table, buffer);
    }
    if (!batch.isEmpty) await this.#runs.store(batch);
    return vanished;
  }

  #gather(batch: RunBatch, object: BatchObject): void {
    batch.add(object, this.#intern, (pack) => this.#runs.isStored(pack));
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
}
