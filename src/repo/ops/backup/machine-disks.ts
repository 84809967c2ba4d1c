/**
 * The disks of a running machine as the disks of a snapshot, at /machines/NAME/DISK: for one repository,
 * or for several at once, which then get the same moment and are read together. Each has bitmaps of its
 * own (machine-bitmaps.ts): one that fails keeps its old ones.
 */
import { toHex } from "../../../bytes.ts";
import { FailedError } from "../../../errors.ts";
import { type DiskRange, NbdSource } from "../../../image/index.ts";
import {
  asObject,
  chooseDisks,
  clearRun,
  type DiskPlan,
  listDisks,
  type MachineDisk,
  type Monitor,
  PointInTime,
  QmpClient,
  removeBitmap,
} from "../../../machine/index.ts";
import type { DirectoryEntry } from "../../format/index.ts";
import type { Environment } from "../environment.ts";
import type { Repository } from "../repository.ts";
import { StaleBitmapError } from "./audit.ts";
import type { DiskSet, OpenDisk, OpenDisks } from "./disk-set.ts";
import { GuestQuiet } from "./guest-quiet.ts";
import { type BitmapChoice, MachineBitmaps } from "./machine-bitmaps.ts";
import { SharedDisk } from "./shared-disk.ts";

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

/**
 * Connects, clears what a run that was killed left, and looks; the rest begins when the disks are opened.
 *
 * @returns a set for each repository
 */
export async function machineDisks(
  repositories: readonly Repository[],
  options: MachineOptions,
): Promise<DiskSet[]> {
  const monitor = await QmpClient.connect(options.qmpPath, { signal: options.signal });
  try {
    const name = asObject(await monitor.execute("query-name"), "query-name")["name"];
    const { environment } = repositories[0]!;
    const disks = await findDisks(environment, monitor);
    return machineSets(repositories, {
      ...options,
      monitor,
      machine: typeof name === "string" && name !== "" ? name.replaceAll("/", "_") : "unnamed",
      disks: chooseDisks(disks, options.disks),
      quiet: (warnOfGuest) =>
        new GuestQuiet(
          options.agentPath,
          () => Buffer.from(environment.random.bytes(4)).readUInt32LE(),
          warnOfGuest,
        ),
    });
  } catch (error) {
    monitor.close();
    throw error;
  }
}

/** Clears what a run that was killed left, and looks. */
export async function findDisks(environment: Environment, qmp: Monitor): Promise<MachineDisk[]> {
  // Before the look: while a job runs, its filter stands where the disk's node is.
  if ((await clearRun(qmp)).length > 0)
    environment.warn("An earlier run was killed; what it left in the machine is cleared");
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

export function machineSets(repositories: readonly Repository[], found: FoundMachine): DiskSet[] {
  const run = new MachineRun(found, repositories[0]!);
  return repositories.map((repository) => run.join(repository));
}

/** What the repositories have of one moment. */
interface Moment {
  readonly point: PointInTime;
  readonly sources: NbdSource[];
  readonly disks: SharedDisk[];
  /** In the order of the plans' bitmaps. */
  readonly members: readonly RepositoryDisks[];
  readonly documents: OpenDisks["documents"];
  readonly warnings: readonly string[];
  readonly isQuiet: boolean;
}

/** The machine while it is backed up. The moment is taken when all repositories that are left want it. */
class MachineRun {
  readonly found: FoundMachine;
  readonly #first: Repository;
  readonly #live = new Set<RepositoryDisks>();
  readonly #unclosed = new Set<RepositoryDisks>();
  readonly #arrived = new Map<RepositoryDisks, () => void>();
  #taking: Promise<Moment> | undefined;
  #moment: Moment | undefined;

  constructor(found: FoundMachine, first: Repository) {
    this.found = found;
    this.#first = first;
  }

  join(repository: Repository): DiskSet {
    const member = new RepositoryDisks(this, repository);
    this.#live.add(member);
    this.#unclosed.add(member);
    return member;
  }

  /** It has made its choices. @returns when all have, or have left */
  async arrive(member: RepositoryDisks): Promise<Moment> {
    await new Promise<void>((go) => {
      this.#arrived.set(member, go);
      this.#goOnIfAllAreHere();
    });
    return (this.#taking ??= this.#take([...this.#live]));
  }

  /** It needs the machine no more. With the last one all ends that was begun; what fails may be tried again. */
  async leave(member: RepositoryDisks): Promise<void> {
    this.#live.delete(member);
    const moment = this.#moment;
    for (const disk of moment?.disks ?? []) disk.leave(moment!.members.indexOf(member));
    if (this.#live.size > 0) {
      this.#goOnIfAllAreHere();
      return;
    }
    for (const source of moment?.sources ?? []) source.close();
    await moment?.point.end((n) => moment.members[n]!.isCommitted);
    this.#moment = undefined;
  }

  closed(member: RepositoryDisks): void {
    this.#unclosed.delete(member);
    if (this.#unclosed.size > 0) return;
    this.found.monitor.close();
    this.found.closed?.();
  }

  #goOnIfAllAreHere(): void {
    if ([...this.#live].every((member) => this.#arrived.has(member)))
      for (const go of this.#arrived.values()) go();
  }

  async #take(members: readonly RepositoryDisks[]): Promise<Moment> {
    const { machine, disks, monitor, scratchFolder } = this.found;
    const warnings: string[] = [];
    const warn = (text: string): void => void warnings.push(`${machine}: ${text}`);
    const quiet = this.found.quiet(warn);
    const plans = disks.map((disk, n) => ({
      disk,
      bitmaps: members.map(({ choices }) => choices[n]!.bitmap),
    }));
    const point = await PointInTime.take(monitor, plans, {
      scratchFolder,
      token: toHex(this.#first.environment.random.bytes(6)),
      freeze: () => quiet.freeze(),
      thaw: () => quiet.thaw(),
    });
    const { wasQuiet: isQuiet } = quiet;
    const moment: Moment = {
      ...{ point, sources: [], disks: [], members, warnings, isQuiet },
      documents: this.found.documents?.(warn) ?? [],
    };
    // From here on there is something to end, whatever fails.
    this.#moment = moment;
    for (const [n, plan] of plans.entries()) {
      const source = await this.#openExport(point, n, plan);
      moment.sources.push(source);
      const readers = members.flatMap((_, at) =>
        plan.bitmaps[at]!.since === undefined ? [at] : [],
      );
      moment.disks.push(new SharedDisk(source, readers));
    }
    return moment;
  }

  async #openExport(
    point: PointInTime,
    n: number,
    { disk, bitmaps }: DiskPlan,
  ): Promise<NbdSource> {
    const place = { kind: "unix", path: point.socketPath } as const;
    const source = await NbdSource.open(
      { place, exportName: point.exportName(n) },
      {
        path: `${this.found.machine}:${disk.name}`,
        signal: this.found.signal,
        dirtyContexts: bitmaps.flatMap(({ since }, at) =>
          since === undefined ? [] : [point.dirtyContext(at)],
        ),
      },
    );
    if (source.size === disk.size) return source;
    source.close();
    throw new FailedError(`Cannot back up ${source.path}: its size changed as the backup began`);
  }
}

/** The machine's disks for one repository. */
class RepositoryDisks implements DiskSet {
  readonly paths: readonly string[];
  choices: readonly BitmapChoice[] = [];
  isCommitted = false;
  readonly #run: MachineRun;
  readonly #repository: Repository;
  readonly #bitmaps: MachineBitmaps;
  #moment: Moment | undefined;
  #isClosed = false;

  constructor(run: MachineRun, repository: Repository) {
    this.#run = run;
    this.#repository = repository;
    this.#bitmaps = new MachineBitmaps(run.found.monitor, repository);
    this.paths = run.found.disks.map((disk) => this.#path(disk));
  }

  async open(before: (path: string) => Promise<DirectoryEntry | undefined>): Promise<OpenDisks> {
    const { disks, machine, force = false } = this.#run.found;
    const choices: BitmapChoice[] = [];
    for (const disk of disks)
      choices.push(await this.#bitmaps.choose(disk, await before(this.#path(disk)), force));
    this.choices = choices;
    const moment = await this.#run.arrive(this);
    this.#moment = moment;
    const opened: OpenDisk[] = [];
    for (const n of disks.keys()) opened.push(await this.#openDisk(moment, n));
    const warnings = disks.flatMap(({ name }, n) => {
      const reason = choices[n]!.reasonToReadAll;
      return reason === undefined ? [] : [`${machine}: all of disk ${name} is read: ${reason}`];
    });
    return {
      disks: opened,
      documents: [await this.#document(moment.isQuiet), ...moment.documents],
      warnings: [...warnings, ...moment.warnings],
    };
  }

  verify(): Promise<void> {
    return this.#moment?.point.verify() ?? Promise.resolve();
  }

  async committed(): Promise<void> {
    this.isCommitted = true;
    // What fails here is tried again at the end, and then by the next run: the snapshot stands.
    await this.#run.leave(this).catch(() => undefined);
  }

  async close(error?: unknown): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    const { monitor, disks, machine } = this.#run.found;
    try {
      await this.#run.leave(this);
      // What it calls clean is not: nothing that rests on it may follow.
      if (error instanceof StaleBitmapError)
        for (const [n, { bitmap }] of this.choices.entries())
          if (bitmap.since !== undefined) await removeBitmap(monitor, disks[n]!.node, bitmap.since);
    } catch (failure) {
      const reason = failure instanceof Error ? failure.message : String(failure);
      this.#repository.environment.warn(
        `${machine}: cannot clear up after the backup: ${reason}. The next run does`,
      );
    } finally {
      this.#run.closed(this);
    }
  }

  #path(disk: MachineDisk): string {
    return `/machines/${this.#run.found.machine}/${disk.name}`;
  }

  async #openDisk({ point, sources, disks, members }: Moment, n: number): Promise<OpenDisk> {
    const { bitmap, state, sizeBefore } = this.choices[n]!;
    const at = members.indexOf(this);
    const source = disks[n]!.view(at);
    const disk = { path: this.paths[n]!, source, state };
    if (bitmap.since === undefined) return disk;
    const changes = await sources[n]!.changes(point.dirtyContext(at));
    return { ...disk, changes: withGrowth(changes, sizeBefore, source.size) };
  }

  async #document(isQuiet: boolean): Promise<OpenDisks["documents"][number]> {
    const { monitor, machine: name, disks } = this.#run.found;
    const [uuid, block] = await Promise.all(
      ["query-uuid", "query-block"].map((command) => monitor.execute(command)),
    );
    const machine = {
      name,
      uuid: asObject(uuid, "query-uuid")["UUID"],
      qemu: monitor.version,
      quiesced: isQuiet,
      disks: this.choices.map(({ bitmap: { begin, since } }, n) => {
        const { name: disk, node, size, format } = disks[n]!;
        return { name: disk, node, size, format, bitmap: begin, since: since ?? null };
      }),
      block,
    };
    const bytes = Buffer.from(`${JSON.stringify(machine, undefined, 2)}\n`);
    return { path: `/machines/${name}/machine.json`, bytes };
  }
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
