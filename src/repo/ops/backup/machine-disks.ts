/**
 * The disks of a running machine as the disks of a snapshot, at /machines/NAME/DISK.
 *
 * In the machine a bitmap counts what the guest writes since the last committed snapshot; the snapshot
 * knows it by name (the entry's inode is the number in it). A run begins a new bitmap at its own moment;
 * only when its snapshot is durable does the old one go. So whatever fails, the next run finds either the
 * bitmap of the newest snapshot, or none, and then reads everything.
 */
import { toHex, utf8Bytes } from "../../../bytes.ts";
import { FailedError } from "../../../errors.ts";
import { type DiskRange, NbdSource } from "../../../image/index.ts";
import {
  asObject,
  chooseDisks,
  clearRun,
  type DirtyBitmap,
  type DiskPlan,
  listDisks,
  type MachineDisk,
  type Monitor,
  PointInTime,
  QmpClient,
  removeBitmap,
} from "../../../machine/index.ts";
import type { DirectoryEntry } from "../../format/index.ts";
import type { Repository } from "../repository.ts";
import { sha256 } from "../sealed-records.ts";
import { StaleBitmapError } from "./audit.ts";
import type { DiskSet, OpenDisk, OpenDisks } from "./disk-set.ts";
import { GuestQuiet } from "./guest-quiet.ts";

export interface MachineOptions {
  readonly qmpPath: string;
  /** Names of disks or nodes; empty for all. */
  readonly disks: readonly string[];
  /** Socket of the guest agent's channel. */
  readonly agentPath?: string | undefined;
  readonly scratchFolder: string;
  /** Read everything, whatever the bitmaps say. */
  readonly force?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Connects, clears what a run that was killed left, and looks; the rest begins when the disks are opened. */
export async function machineDisks(
  repository: Repository,
  options: MachineOptions,
): Promise<DiskSet> {
  const monitor = await QmpClient.connect(options.qmpPath, { signal: options.signal });
  try {
    const name = asObject(await monitor.execute("query-name"), "query-name")["name"];
    const disks = await findDisks(repository, monitor);
    const { random } = repository.environment;
    return new MachineDisks(repository, {
      ...options,
      monitor,
      machine: typeof name === "string" && name !== "" ? name.replaceAll("/", "_") : "unnamed",
      disks: chooseDisks(disks, options.disks),
      quiet: (warn) =>
        new GuestQuiet(options.agentPath, () => Buffer.from(random.bytes(4)).readUInt32LE(), warn),
    });
  } catch (error) {
    monitor.close();
    throw error;
  }
}

/** Clears what a run that was killed left, and looks. */
export async function findDisks(repository: Repository, qmp: Monitor): Promise<MachineDisk[]> {
  // Before the look: while a job runs, its filter stands where the disk's node is.
  if ((await clearRun(qmp)).length > 0)
    repository.environment.warn(
      "An earlier run was killed; what it left in the machine is cleared",
    );
  return listDisks(qmp);
}

/** A machine that was found, however one talks to it. */
export interface FoundMachine {
  readonly monitor: Monitor;
  readonly machine: string;
  readonly disks: readonly MachineDisk[];
  /** Makes the guest quiet for the moment. */
  readonly quiet: (warn: (text: string) => void) => Quiet;
  /** What belongs to it beside its disks; asked for after the moment. */
  readonly documents?: (warn: (text: string) => void) => OpenDisks["documents"];
  readonly scratchFolder: string;
  readonly force?: boolean | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly closed?: () => void;
}

interface Quiet {
  readonly wasQuiet: boolean;
  freeze(): Promise<void>;
  thaw(): Promise<void>;
}

interface Choice {
  readonly plan: DiskPlan;
  readonly path: string;
  readonly state: bigint;
  /** Of the disk when the bitmap began: what is beyond it is new and in no bitmap. */
  readonly sizeBefore: number;
}

export class MachineDisks implements DiskSet {
  readonly paths: readonly string[];
  readonly #repository: Repository;
  readonly #options: FoundMachine;
  readonly #qmp: Monitor;
  readonly #machine: string;
  readonly #disks: readonly MachineDisk[];
  readonly #sources: NbdSource[] = [];
  readonly #random: number;
  #point: PointInTime | undefined;
  #plans: readonly DiskPlan[] = [];
  #isCommitted = false;
  #isClosed = false;

  constructor(repository: Repository, found: FoundMachine) {
    this.#repository = repository;
    this.#options = found;
    this.#qmp = found.monitor;
    this.#machine = found.machine;
    this.#disks = found.disks;
    this.paths = found.disks.map((disk) => this.#path(disk));
    this.#random = Buffer.from(repository.environment.random.bytes(4)).readUInt32LE();
  }

  async open(before: (path: string) => Promise<DirectoryEntry | undefined>): Promise<OpenDisks> {
    const { environment } = this.#repository;
    const warnings: string[] = [];
    const choices: Choice[] = [];
    for (const disk of this.#disks)
      choices.push(await this.#choose(disk, await before(this.#path(disk)), warnings));
    this.#plans = choices.map(({ plan }) => plan);
    const warn = (text: string): void => void warnings.push(`${this.#machine}: ${text}`);
    const quiet = this.#options.quiet(warn);
    this.#point = await PointInTime.take(this.#qmp, this.#plans, {
      scratchFolder: this.#options.scratchFolder,
      token: toHex(environment.random.bytes(6)),
      freeze: () => quiet.freeze(),
      thaw: () => quiet.thaw(),
    });
    const disks: OpenDisk[] = [];
    for (const [index, choice] of choices.entries())
      disks.push(await this.#openDisk(index, choice));
    const own = await this.#document(choices, quiet.wasQuiet);
    const documents = [own, ...(this.#options.documents?.(warn) ?? [])];
    return { disks, documents, warnings };
  }

  verify(): Promise<void> {
    return this.#point?.verify() ?? Promise.resolve();
  }

  async committed(): Promise<void> {
    this.#isCommitted = true;
    // What fails here is tried again at the end, and then by the next run: the snapshot stands.
    await this.#end().catch(() => undefined);
  }

  async close(error?: unknown): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    try {
      await this.#end();
      // What it calls clean is not: nothing that rests on it may follow.
      if (error instanceof StaleBitmapError)
        for (const { disk, since } of this.#plans)
          if (since !== undefined) await removeBitmap(this.#qmp, disk.node, since);
    } catch (failure) {
      const reason = failure instanceof Error ? failure.message : String(failure);
      this.#repository.environment.warn(
        `${this.#machine}: cannot clear up after the backup: ${reason}. The next run does`,
      );
    } finally {
      this.#qmp.close();
      this.#options.closed?.();
    }
  }

  async #end(): Promise<void> {
    for (const source of this.#sources.splice(0)) source.close();
    await this.#point?.end(this.#isCommitted);
    this.#point = undefined;
  }

  #path(disk: MachineDisk): string {
    return `/machines/${this.#machine}/${disk.name}`;
  }

  get #prefix(): string {
    return `ashlar-${this.#repository.idHex.slice(0, 8)}-`;
  }

  /**
   * Half of it tells which file the bitmap is in: with an external snapshot libvirt gives the new file an
   * empty bitmap of the same name, which knows nothing of what changed before.
   */
  #state({ image }: MachineDisk): bigint {
    const file = BigInt(`0x${sha256(utf8Bytes(image)).slice(0, 8)}`);
    return (BigInt(this.#random) << 32n) | file | 1n;
  }

  #bitmapName(state: bigint): string {
    return this.#prefix + state.toString(16).padStart(16, "0");
  }

  /** Takes out bitmaps of runs that never committed, and decides whether the one that did can be used. */
  async #choose(
    disk: MachineDisk,
    before: DirectoryEntry | undefined,
    warnings: string[],
  ): Promise<Choice> {
    const last = before === undefined ? 0n : before.metadata.inode;
    const wanted = last === 0n ? undefined : this.#bitmapName(last);
    const state = this.#state(disk);
    const begin = this.#bitmapName(state);
    const sizeBefore = before?.metadata.size ?? 0;
    const bitmap = disk.bitmaps.find(({ name }) => name === wanted);
    const reason =
      before === undefined || wanted === undefined
        ? undefined
        : this.#reasonToReadAll(disk, bitmap, isSameFile(last, state), sizeBefore);
    const isUsed = bitmap !== undefined && reason === undefined && this.#options.force !== true;
    if (reason !== undefined)
      warnings.push(`${this.#machine}: all of disk ${disk.name} is read: ${reason}`);
    for (const { name } of disk.bitmaps) {
      const isOurs = name.startsWith(this.#prefix);
      if (isOurs && (name !== wanted || reason !== undefined))
        await removeBitmap(this.#qmp, disk.node, name);
    }
    const since = isUsed ? { since: bitmap.name } : {};
    return { plan: { disk, begin, ...since }, path: this.#path(disk), state, sizeBefore };
  }

  #reasonToReadAll(
    disk: MachineDisk,
    bitmap: DirtyBitmap | undefined,
    isSameFile: boolean,
    sizeBefore: number,
  ): string | undefined {
    const isThere = bitmap !== undefined;
    const fault = bitmap?.fault;
    if (!isThere && !disk.keepsBitmaps)
      return `its bitmap ended with the machine: a ${disk.format} disk${disk.format === "qcow2" ? " of compat 0.10" : ""} cannot keep one`;
    if (!isThere)
      return "the bitmap of the last snapshot is gone (a crash, an external snapshot, a migration, another image, or another program)";
    if (fault !== undefined) return `the bitmap of the last snapshot cannot be used: ${fault}`;
    if (!isSameFile)
      return "it is in another file than at the last snapshot (an external snapshot, a copy, or the file was renamed)";
    if (disk.size < sizeBefore) return "it has become smaller";
    return undefined;
  }

  async #openDisk(index: number, { plan, path, state, sizeBefore }: Choice): Promise<OpenDisk> {
    const { disk, since } = plan;
    const point = this.#point!;
    const place = { kind: "unix", path: point.socketPath } as const;
    const source = await NbdSource.open(
      { place, exportName: point.exportName(index) },
      {
        path: `${this.#machine}:${disk.name}`,
        signal: this.#options.signal,
        ...(since === undefined ? {} : { dirtyContext: point.dirtyContext }),
      },
    );
    this.#sources.push(source);
    if (source.size !== disk.size)
      throw new FailedError(`Cannot back up ${source.path}: its size changed as the backup began`);
    if (since === undefined) return { path, source, state };
    const changes = withGrowth(await source.changes(), sizeBefore, disk.size);
    return { path, source, state, changes };
  }

  async #document(
    choices: readonly Choice[],
    isQuiet: boolean,
  ): Promise<OpenDisks["documents"][number]> {
    const [uuid, block] = await Promise.all(
      ["query-uuid", "query-block"].map((command) => this.#qmp.execute(command)),
    );
    const machine = {
      name: this.#machine,
      uuid: asObject(uuid, "query-uuid")["UUID"],
      qemu: this.#qmp.version,
      quiesced: isQuiet,
      disks: choices.map(({ plan: { disk, begin, since } }) => ({
        name: disk.name,
        node: disk.node,
        size: disk.size,
        format: disk.format,
        bitmap: begin,
        since: since ?? null,
      })),
      block,
    };
    const bytes = Buffer.from(`${JSON.stringify(machine, undefined, 2)}\n`);
    return { path: `/machines/${this.#machine}/machine.json`, bytes };
  }
}

function isSameFile(one: bigint, other: bigint): boolean {
  return BigInt.asUintN(32, one) === BigInt.asUintN(32, other);
}

/** A bitmap follows its disk when it grows, and calls the new part clean. */
function withGrowth(
  changes: readonly DiskRange[],
  sizeBefore: number,
  size: number,
): readonly DiskRange[] {
  if (size <= sizeBefore) return changes;
  const within = changes
    .filter(({ offset }) => offset < sizeBefore)
    .map(({ offset, length }) => ({ offset, length: Math.min(length, sizeBefore - offset) }));
  return [...within, { offset: sizeBefore, length: size - sizeBefore }];
}
