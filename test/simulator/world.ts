/** A storage, the time, hosts with clocks of their own, and what they run. */
import { StoreError } from "../../src/errors.ts";
import {
  type Credential,
  type Environment,
  type PruneOptions,
  readableSnapshots,
  Repository,
} from "../../src/repo/ops/index.ts";
// Not through the door, which loads each when it is first asked for.
import { backup } from "../../src/repo/ops/backup/backup.ts";
import { check } from "../../src/repo/ops/check/check.ts";
import { prune } from "../../src/repo/ops/collector/prune.ts";
import { copySnapshots } from "../../src/repo/ops/copy/copy.ts";
import { dump } from "../../src/repo/ops/dump.ts";
import { forget } from "../../src/repo/ops/forget.ts";
import type { Random } from "../../src/crypto/index.ts";
import type { Storage } from "../../src/storage/index.ts";
import { fixedRandom } from "../support/fixed-random.ts";
import { ActorStorage, type StoreBehaviour, StillStorage } from "./actor-storage.ts";
import type { Numbers } from "./numbers.ts";
import { ObjectStore } from "./object-store.ts";
import {
  Actor,
  type Chances,
  type PickNext,
  Scheduler,
  type SchedulerEvents,
} from "./scheduler.ts";
import { bindSource, blockBytes, diskPath } from "./source.ts";
import type { StartState } from "./start-states.ts";
import { Host, VirtualTime } from "./virtual-time.ts";
import { BrokenInvariant, Watch } from "./watch.ts";

const hour = 3_600_000;

export interface WorldOptions {
  /** How long a list may lag; 0 for storage that shows at once what was put. */
  readonly settlingMs: number;
  readonly chances: Chances;
  readonly pickNext?: PickNext;
  readonly trace?: (line: string) => void;
}

/** What a committed snapshot must give back. */
export interface Committed {
  readonly disk: Uint8Array;
  readonly hostname: string;
  isForgotten: boolean;
}

export class World {
  static readonly credential: Credential = {
    kind: "keyFile",
    text: `ashlar-key-v1 ${"11".repeat(32)}\n`,
  };
  readonly store: ObjectStore;
  readonly watch: Watch;
  readonly time: VirtualTime;
  readonly scheduler: Scheduler;
  readonly committed = new Map<string, Committed>();
  readonly copied = new Set<string>();
  readonly numbers: Numbers;
  /** How far the storage's clock is ahead; undefined where lists tell no times. */
  storageSkewMs: number | undefined;
  readonly #behaviour: StoreBehaviour;
  readonly #trace: ((line: string) => void) | undefined;
  readonly #skews = new Map<string, number>();
  #broken: BrokenInvariant | undefined;
  #runs = 0;

  constructor({ store, watch, nowMs }: StartState, numbers: Numbers, options: WorldOptions) {
    const { settlingMs, chances, pickNext } = options;
    this.store = store;
    this.watch = watch;
    this.numbers = numbers;
    this.time = new VirtualTime(nowMs);
    this.#behaviour = {
      settlingMs,
      traits: { conditionalPut: settlingMs === 0, local: true },
      now: () =>
        this.storageSkewMs === undefined ? undefined : this.time.nowMs + this.storageSkewMs,
    };
    const { trace } = options;
    this.#trace =
      trace &&
      ((line) => {
        trace(`${new Date(this.time.nowMs).toISOString().slice(5, 23)} ${line}`);
      });
    const events: SchedulerEvents = {
      trace: this.#trace,
      changed: async ({ operation, kind, name }) => {
        try {
          await watch.changed(operation === "put" ? "put" : "delete", kind, name);
        } catch (error) {
          if (!(error instanceof BrokenInvariant)) throw error;
          this.#trace?.(`BROKEN ${error.message}`);
          this.#broken ??= error;
        }
      },
    };
    this.scheduler = new Scheduler(this.time, numbers, chances, events, pickNext);
  }

  /** @throws {BrokenInvariant} what was broken first */
  expectWhole(): void {
    if (this.#broken !== undefined) throw this.#broken;
  }

  static environmentOf(hostname: string, random: Random): Environment {
    return {
      clock: { now: () => 0, elapsed: () => 0 },
      random,
      hostname,
      user: { name: "tester", uid: 0, gid: 0 },
      process: undefined,
      lanes: 0,
      cacheDir: undefined,
      tool: "ashlar test",
      warn: () => undefined,
      note: () => undefined,
    };
  }

  setSkew(hostname: string, ms: number): void {
    this.#skews.set(hostname, ms);
  }

  /** Some run of the program on a host, from now on. */
  start(
    what: string,
    hostname: string,
    run: (repository: Repository, actor: Actor) => Promise<unknown>,
  ): Actor {
    const host = new Host(this.time, this.#skews.get(hostname) ?? 0);
    const name = `${what}#${this.#runs++}@${hostname}`;
    const environment: Environment = {
      ...World.environmentOf(hostname, fixedRandom(`${name} ${this.numbers.below(2 ** 30)}`)),
      clock: host.clock,
      warn: (text) => {
        this.#trace?.(`${name} warns: ${text}`);
      },
    };
    const actor = new Actor(name, host, async (self) => {
      const repository = await Repository.open(this.#storage(self), World.credential, environment);
      try {
        const value = await run(repository, self);
        this.#trace?.(`${name} is done`);
        return value;
      } catch (error) {
        this.#trace?.(`${name} ends: ${error instanceof Error ? error.message : String(error)}`);
        throw error;
      } finally {
        await repository.close();
      }
    });
    this.scheduler.add(actor);
    return actor;
  }

  backup(hostname: string, disk: Uint8Array): Actor {
    const controller = new AbortController();
    const signal = bindSource(controller.signal, { hostname, disk });
    return this.start("backup", hostname, async (repository, actor) => {
      const options = { paths: [diskPath(hostname)], cwd: "/", images: ["**/*.img"] };
      const { snapshotId } = await backup(repository, options, { signal });
      if (!actor.isDead) this.committed.set(snapshotId!, { disk, hostname, isForgotten: false });
      return snapshotId;
    });
  }

  prune(hostname: string, options: PruneOptions): Actor {
    return this.start(`prune(${options.graceMs / hour}h)`, hostname, (repository) =>
      prune(repository, options),
    );
  }

  forget(hostname: string, ids: readonly string[]): Actor {
    for (const id of ids) this.#forgotten(id);
    return this.start(`forget(${ids.map((id) => id.slice(0, 8)).join()})`, hostname, (repository) =>
      forget(repository, { ids, policy: { tags: [] }, groupBy: [] }),
    );
  }

  /** Takes over what another repository holds; that one nobody else uses. */
  copy(hostname: string, from: ObjectStore): Actor {
    return this.start("copy", hostname, async (repository, actor) => {
      const { environment } = repository;
      const storage = new StillStorage(from, environment.clock);
      await using source = await Repository.open(storage, World.credential, environment);
      const { copied } = await copySnapshots(source, repository);
      for (const { targetId } of copied)
        if (!actor.isDead && targetId !== undefined) this.copied.add(targetId);
      return copied.length;
    });
  }

  check(hostname: string, readData: boolean): Actor {
    return this.start("check", hostname, async (repository) => {
      const report = await check(repository, readData ? { readData: { kind: "all" } } : {});
      return report.errors;
    });
  }

  /** Reads a snapshot to its end. @returns whether it came back byte for byte */
  restore(hostname: string, id: string): Actor {
    return this.start(`restore(${id.slice(0, 8)})`, hostname, async (repository) => {
      const snapshot = (await readableSnapshots(repository)).find((one) => one.id === id);
      if (snapshot === undefined) throw new BrokenInvariant(`snapshot ${id.slice(0, 8)} is gone`);
      const parts: Uint8Array[] = [];
      for await (const part of dump(repository, snapshot, snapshot.paths[0]!)) parts.push(part);
      const known = this.committed.get(id);
      if (known !== undefined && !Buffer.concat(parts).equals(known.disk))
        throw new BrokenInvariant(`snapshot ${id.slice(0, 8)} came back with other bytes`);
    });
  }

  /** What is started so lives on a sound machine. */
  undisturbed(start: () => Actor): Actor {
    const actor = start();
    actor.isUndisturbed = true;
    return actor;
  }

  /** A disk made of parts that all hosts share, some of it its own. */
  newDisk(): Uint8Array {
    const { numbers } = this;
    let disk = parts[numbers.below(parts.length)]!;
    if (!numbers.oneIn(3)) {
      const blocks = numbers.below(partBlocks);
      disk = disk.slice();
      disk.set(numbers.pick(parts).subarray(0, blocks * blockBytes));
    }
    if (numbers.oneIn(2)) {
      disk = disk.slice();
      disk[numbers.below(partBlocks) * blockBytes + 100]! ^= 1 + numbers.below(3);
    }
    return disk;
  }

  /** Backups, a forget, a prune, one after the other, nothing in the way. */
  async quietNight(): Promise<void> {
    for (const hostname of ["host1", "host2"]) {
      this.backup(hostname, this.newDisk());
      await this.scheduler.run();
    }
    const ids = [...this.committed].flatMap(([id, { isForgotten }]) => (isForgotten ? [] : [id]));
    if (ids.length > 3) {
      this.forget("admin", [this.numbers.pick(ids)]);
      await this.scheduler.run();
    }
    if (this.numbers.oneIn(2)) this.prune("admin", { ...sparingly, graceMs: 24 * hour });
    await this.scheduler.run();
    this.expectWhole();
  }

  #forgotten(id: string): void {
    const known = this.committed.get(id);
    if (known !== undefined) known.isForgotten = true;
  }

  #storage(actor: Actor): Storage {
    const { store, time, numbers, scheduler } = this;
    return new ActorStorage(store, this.#behaviour, scheduler, actor, time, numbers);
  }
}

/** All that is unused goes, however little. */
export const sparingly: PruneOptions = {
  graceMs: 0,
  maxUnused: { kind: "bytes", bytes: 0 },
  maxRepackBytes: Infinity,
};

const partBlocks = 6;
const parts = ["a", "b", "c"].map((name) => fixedRandom(name).bytes(partBlocks * blockBytes));

/** What a run may answer when others are at work: that it gives way, or was locked out. */
export function isRefusal(error: unknown): boolean {
  return (
    error instanceof StoreError &&
    (error.exitCode === 11 ||
      /took this run for dead|session could not be refreshed/.test(error.message))
  );
}
