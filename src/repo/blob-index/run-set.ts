/**
 * The runs a process works with, and what they say together: which packs have their records where,
 * and which index objects are taken in whole.
 *
 * An object counts as taken in only if every pack it names has its records in some run. So a run that
 * is lost, at any time and for any reason, merely makes its objects be fetched again.
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import type { CacheFolder } from "./cache-folder.ts";
import type { ProtocolKind } from "./object-source.ts";
import type { PackClaim, PackTable } from "./pack-table.ts";
import { packIndexed, packOwn } from "./pack-table.ts";
import { noPack } from "./record.ts";
import { CacheDamage, type RunObject } from "./run-layout.ts";
import { mergeRuns, type MergeSource } from "./run-merge.ts";
import { chooseRuns } from "./run-plan.ts";
import { RunPacks, type RunBatch } from "./run-batch.ts";
import { RunWriter } from "./run-writer.ts";
import { Run } from "./run.ts";

/** Another process may merge runs while we open them: the manifest is then read again. */
const openRoundsMax = 3;

interface OpenRun {
  readonly run: Run;
  readonly path: string;
  readonly isShared: boolean;
  /** Per pack of the run 1 when its records are in it. */
  readonly recordsHere: Uint8Array;
  /** Its objects, with the packs' numbers in the process. */
  readonly objects: readonly RunObject[];
}

export interface RunSetOptions {
  readonly folder: CacheFolder;
  readonly table: PackTable;
  readonly repoId: Uint8Array;
  readonly intern: (claim: PackClaim) => number;
  readonly onNote: (note: string) => void;
  readonly signal: AbortSignal | undefined;
}

export class RunSet {
  /** To be searched. */
  runs: readonly Run[] = [];
  /** Index objects that are taken in whole. */
  readonly objects = new Map<string, RunObject>();
  readonly #options: RunSetOptions;
  #open: OpenRun[] = [];
  #stored = new Uint8Array(0);
  #added: string[] = [];
  readonly #removed = new Set<string>();

  constructor(options: RunSetOptions) {
    this.#options = options;
  }

  get isIntact(): boolean {
    return this.runs.every((run) => !run.damaged);
  }

  get recordCount(): number {
    return this.runs.reduce((sum, run) => sum + run.header.recordCount, 0);
  }

  /** Whether some run holds the records of a pack. */
  isStored(pack: number): boolean {
    return this.#stored[pack] === 1;
  }

  /** Takes over what other processes left in the folder, and lets go of what is damaged or was replaced. */
  sync(): Readonly<Record<string, ProtocolKind>> {
    const { folder } = this.#options;
    for (const open of this.#open.filter(({ run }) => run.damaged)) this.#drop(open);
    let manifest = folder.readManifest();
    for (let round = 1; folder.isShared; round++) {
      const wanted = new Set(manifest.runs.filter((name) => !this.#removed.has(name)));
      for (const open of this.#open.filter(
        ({ run, isShared }) => isShared && !wanted.has(run.fileName),
      )) {
        if (!this.#added.includes(open.run.fileName)) this.#close(open);
      }
      const lost = [...wanted].filter((name) => !this.#tryOpenShared(name));
      if (lost.length === 0) break;
      if (round === openRoundsMax) {
        this.#replaceLost(lost);
        break;
      }
      manifest = folder.readManifest();
    }
    this.#reckon();
    return manifest.protocol;
  }

  /** Makes a run of what was gathered. */
  async store(batch: RunBatch): Promise<void> {
    const { folder, repoId } = this.#options;
    const { path, fileName } = await folder.createRun((fd) => batch.write(fd, repoId));
    this.#adopt(path, fileName);
    this.#reckon();
  }

  /** Merges while there are too many runs. @returns false when one turned out to be damaged */
  async tidy(isListed: (object: string) => boolean): Promise<boolean> {
    for (;;) {
      const chosen = chooseRuns(
        this.#open.map((open) => ({
          recordCount: open.run.header.recordCount,
          liveCount: this.#liveCount(open),
        })),
      );
      if (chosen.length === 0) return true;
      try {
        await this.#merge(
          chosen.map((place) => this.#open[place]!),
          isListed,
        );
      } catch (error) {
        if (error instanceof CacheDamage) return false;
        throw error;
      }
    }
  }

  /** Lets other processes find what changed here. */
  publish(protocol: Readonly<Record<string, ProtocolKind>>): void {
    const { folder } = this.#options;
    if (folder.isShared && !folder.publish(this.#added, this.#removed, protocol)) return;
    this.#added = [];
    this.#removed.clear();
  }

  get hasChanged(): boolean {
    return this.#added.length > 0 || this.#removed.size > 0;
  }

  /** Reads all there is and compares the checksums. */
  verify(): boolean {
    return this.runs.map((run) => run.verify()).every(Boolean);
  }

  close(): void {
    for (const { run } of this.#open) run.close();
    this.#open = [];
    this.runs = [];
  }

  async #merge(sources: readonly OpenRun[], isListed: (object: string) => boolean): Promise<void> {
    const { folder, repoId, table, signal } = this.#options;
    const packs = new RunPacks(table);
    const mergeSources = sources.map(({ run, recordsHere }): MergeSource => ({
      run,
      packs: run.toGlobal.map((number, place) => {
        const isKept = recordsHere[place] === 1 && number !== noPack && this.#isLive(number);
        return isKept ? packs.holdRecords(number) : noPack;
      }),
    }));
    const objects = new Map<string, RunObject>();
    for (const object of sources.flatMap((source) => source.objects)) {
      if (!isListed(object.name) || objects.has(object.name)) continue;
      objects.set(object.name, {
        ...object,
        packs: object.packs.map((number) => packs.place(number)),
      });
    }
    const { path, fileName } = await folder.createRun(async (fd) => {
      const writer = new RunWriter(fd, repoId, packs.list, [...objects.values()]);
      await mergeRuns(mergeSources, writer, signal);
      return writer.finish();
    });
    for (const source of sources) this.#drop(source);
    this.#adopt(path, fileName);
    this.#reckon();
  }

  #isLive(pack: number): boolean {
    const { table } = this.#options;
    return table.has(pack, packIndexed) || table.has(pack, packOwn);
  }

  #liveCount({ run, recordsHere }: OpenRun): number {
    let count = 0;
    for (const [place, number] of run.toGlobal.entries()) {
      if (recordsHere[place] === 1 && number !== noPack && this.#isLive(number))
        count += this.#options.table.blobCount(number);
    }
    return count;
  }

  #has(fileName: string): boolean {
    return this.#open.some(({ run }) => run.fileName === fileName);
  }

  #adopt(path: string, fileName: string): void {
    const { folder } = this.#options;
    if (this.#has(fileName)) return;
    if (!this.#tryOpen(path, fileName)) {
      this.#options.onNote(`The index cache in ${folder.path} does not keep what is written to it`);
    } else if (folder.isShared) {
      this.#removed.delete(fileName);
      this.#added.push(fileName);
    }
  }

  #tryOpen(path: string, fileName: string): boolean {
    const { repoId, intern, folder } = this.#options;
    try {
      const { run, packs, objects } = Run.open(path, fileName, repoId);
      run.packNumbers = Uint32Array.from(packs, intern);
      this.#open.push({
        run,
        path,
        isShared: folder.isShared,
        recordsHere: Uint8Array.from(packs, (pack) => (pack.hasRecords ? 1 : 0)),
        objects: objects.map((object) => ({
          ...object,
          packs: object.packs.map((place) => run.packNumbers[place]!),
        })),
      });
      return true;
    } catch (error) {
      if (error instanceof CacheDamage) return false;
      throw error;
    }
  }

  #tryOpenShared(fileName: string): boolean {
    return (
      this.#has(fileName) || this.#tryOpen(join(this.#options.folder.path, fileName), fileName)
    );
  }

  /** Runs that the manifest names cannot be opened: perhaps others, that a racing process left out of it, hold the same. */
  #replaceLost(lost: readonly string[]): void {
    const { folder, onNote } = this.#options;
    for (const name of lost) this.#removed.add(name);
    for (const name of folder.runFiles()) {
      if (this.#has(name) || this.#removed.has(name) || !this.#tryOpenShared(name)) continue;
      this.#added.push(name);
    }
    onNote(
      `Parts of the index cache in ${folder.path} are missing or damaged; they are made again`,
    );
  }

  /** Lets go of a run for good. */
  #drop(open: OpenRun): void {
    this.#close(open);
    const { fileName } = open.run;
    if (!open.isShared) rmSync(open.path, { force: true });
    else {
      this.#added = this.#added.filter((name) => name !== fileName);
      this.#removed.add(fileName);
    }
  }

  #close(open: OpenRun): void {
    open.run.close();
    this.#open = this.#open.filter((other) => other !== open);
  }

  /** Decides whose records of a pack count, if several runs hold it, and which objects are whole. */
  #reckon(): void {
    const { table } = this.#options;
    this.#stored = new Uint8Array(table.count);
    for (const { run, recordsHere } of this.#open) {
      run.toGlobal = run.packNumbers.map((number, place) => {
        if (recordsHere[place] === 0 || this.isStored(number)) return noPack;
        this.#stored[number] = 1;
        return number;
      });
    }
    this.objects.clear();
    for (const object of this.#open.flatMap((open) => open.objects)) {
      if (object.packs.every((pack) => this.isStored(pack))) this.objects.set(object.name, object);
    }
    this.runs = this.#open.map(({ run }) => run);
  }
}
