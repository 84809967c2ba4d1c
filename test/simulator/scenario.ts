/** One short run, all of it from a seed: who is at work at once, what goes wrong, and what must hold in the end. */
import { BackendError } from "../../src/errors.ts";
import { recycleHashers } from "./hasher-pool.ts";
import { Numbers } from "./numbers.ts";
import { ObjectStore } from "./object-store.ts";
import { type Actor, calm, type Chances } from "./scheduler.ts";
import type { StartState } from "./start-states.ts";
import { BrokenInvariant } from "./watch.ts";
import { isRefusal, sparingly, World } from "./world.ts";

const hour = 3_600_000;
const hosts = ["host1", "host2", "host3"];
/** The storage's clock has choices of its own, so that a seed's other choices do not depend on it. */
const storageClocks = 7_000_001;

export interface RunResult {
  readonly steps: number;
  /** Runs of the program by how they ended. */
  readonly done: number;
  readonly dead: number;
  readonly refused: number;
}

/**
 * What a run is made to be like, so that what is rare among all runs is seen soon: all snapshots that
 * there are become garbage, and backups take it up beside prunes. `slow`: these backups take hours, and
 * a grace is over before they end. `sudden`: prunes have no grace.
 */
export type Leaning = "slow" | "sudden";

/** @throws {BrokenInvariant} */
export async function simulate(
  seed: number,
  states: readonly StartState[],
  trace?: (line: string) => void,
  leaning?: Leaning,
): Promise<RunResult> {
  const numbers = new Numbers(seed);
  const start = numbers.pick(states);
  const store = new ObjectStore(start.store);
  const world = new World({ ...start, store, watch: start.watch.fork(store) }, numbers, {
    settlingMs: 0,
    chances: chancesOf(numbers, leaning),
    ...(trace === undefined ? {} : { trace }),
  });
  if (numbers.oneIn(3))
    for (const host of [...hosts, "admin", "admin2"])
      world.setSkew(host, numbers.pick([-26, -1, 0, 0, 0.4, 25]) * hour);
  const run = new Run(world, start, states, new Numbers(seed + storageClocks), leaning);
  try {
    return await run.execute();
  } finally {
    recycleHashers();
  }
}

class Run {
  readonly #world: World;
  readonly #start: StartState;
  readonly #states: readonly StartState[];
  readonly #before: readonly string[];
  /** Snapshots that somebody was told to forget. */
  readonly #gone = new Set<string>();
  readonly #actors: Actor[] = [];
  readonly #clockChoices: Numbers;
  readonly #leaning: Leaning | undefined;

  constructor(
    world: World,
    start: StartState,
    states: readonly StartState[],
    clockChoices: Numbers,
    leaning: Leaning | undefined,
  ) {
    this.#world = world;
    this.#leaning = leaning;
    this.#clockChoices = clockChoices;
    if (leaning === undefined && !clockChoices.oneIn(4))
      world.storageSkewMs = clockChoices.pick([0, 0, -5, 26]) * hour;
    this.#start = start;
    this.#states = states;
    this.#before = world.watch.visible;
  }

  async execute(): Promise<RunResult> {
    const { scheduler, time, numbers } = this.#world;
    const isSlow = numbers.oneIn(3) || this.#leaning === "slow";
    const rounds = this.#leaning === "slow" ? 4 : isSlow ? 3 : numbers.pick([1, 2]);
    for (let round = 0; round < rounds; round++) {
      this.#startSome(round, isSlow);
      // Who sleeps, or has much to send, is still at work when the next begin.
      const nextMs = time.nowMs + numbers.pick(this.#gaps(isSlow)) * hour;
      await scheduler.run(nextMs);
      this.#world.expectWhole();
      time.advanceTo(nextMs);
      this.#setStorageClock();
    }
    await scheduler.run();
    this.#world.expectWhole();
    for (const actor of this.#actors) judge(actor, this.#gone);
    this.#expectKept();
    await this.#expectRestores();
    const count = (state: string): number =>
      this.#actors.filter(({ outcome }) => outcome?.state === state).length;
    const { steps } = scheduler;
    return { steps, done: count("done"), dead: count("dead"), refused: count("failed") };
  }

  /** Hours until the next begin. */
  #gaps(isSlow: boolean): readonly number[] {
    if (this.#leaning === "slow") return [1.1, 2];
    return isSlow ? [0.6, 1.1, 2] : [0.1, 0.6, 2, 25];
  }

  /** A time server sets it forward or back. */
  #setStorageClock(): void {
    const { storageSkewMs } = this.#world;
    if (storageSkewMs === undefined || !this.#clockChoices.oneIn(6)) return;
    this.#world.storageSkewMs = storageSkewMs + this.#clockChoices.pick([-24, -1, 1, 25]) * hour;
  }

  #startSome(round: number, isSlow: boolean): void {
    const world = this.#world;
    const { numbers } = world;
    const first = numbers.below(hosts.length);
    const backups = round === 0 ? numbers.pick([1, 1, 2]) : numbers.below(isSlow ? 1 : 2);
    for (let n = 0; n < backups; n++) {
      const actor = world.backup(hosts[(first + n) % hosts.length]!, world.newDisk());
      if (isSlow) {
        actor.slowMs = (this.#leaning === undefined ? numbers.pick([1, 4, 9]) : 9) * 60_000;
        actor.quickCalls = numbers.below(80);
      }
      this.#actors.push(actor);
    }
    const ids = world.watch.visible.filter((id) => !this.#gone.has(id));
    const isForgetting = numbers.oneIn(round === 0 ? 2 : 4) || this.#leaning !== undefined;
    if (isForgetting && ids.length > 1) this.#forget(ids);
    const graces = { slow: [1], sudden: [0], none: [0, 1, 1, 24] }[this.#leaning ?? "none"];
    const grace = (): number => numbers.pick(graces) * hour;
    if (round > 0 || !numbers.oneIn(4))
      this.#actors.push(world.prune("admin", { ...sparingly, graceMs: grace() }));
    if (numbers.oneIn(5))
      this.#actors.push(world.prune("admin2", { ...sparingly, graceMs: grace() }));
    if (numbers.oneIn(8) && ids.length > 0)
      this.#actors.push(world.restore("reader", numbers.pick(ids)));
    if (numbers.oneIn(16)) this.#actors.push(world.check("checker", false));
    if (numbers.oneIn(40)) {
      const other = numbers.pick(this.#states.filter(({ repo }) => repo !== this.#start.repo));
      this.#actors.push(world.copy("copier", new ObjectStore(other.store)));
    }
  }

  #forget(ids: readonly string[]): void {
    const { numbers } = this.#world;
    const chosen =
      this.#leaning === undefined ? ids.filter(() => numbers.oneIn(3)).slice(0, 3) : ids;
    if (chosen.length === 0) return;
    for (const id of chosen) this.#gone.add(id);
    this.#actors.push(this.#world.forget("admin", chosen));
  }

  /** What was there and was not forgotten, and what a run was told is committed. */
  #expectKept(): void {
    const { watch, committed, copied } = this.#world;
    const visible = new Set(watch.visible);
    for (const id of [...this.#before, ...committed.keys(), ...copied])
      if (!this.#gone.has(id) && !visible.has(id))
        throw new BrokenInvariant(
          `snapshot ${id.slice(0, 8)} was committed, and does not count any more`,
        );
  }

  /** By the program itself, as a user would: the newest, byte for byte. */
  async #expectRestores(): Promise<void> {
    const world = this.#world;
    const id = [...world.committed.keys()].findLast((one) => !this.#gone.has(one));
    if (id === undefined) return;
    const actor = world.undisturbed(() => world.restore("reader", id));
    await world.scheduler.run();
    judge(actor, new Set());
  }
}

function chancesOf(numbers: Numbers, leaning: Leaning | undefined): Chances {
  if (leaning !== undefined) return { ...calm, order: leaning === "slow" ? "any" : "ranked" };
  const rough = numbers.below(4);
  return {
    order: numbers.pick(["any", "sticky", "ranked", "ranked"]),
    crash: rough === 1 ? numbers.pick([100, 300]) : 0,
    fault: rough === 2 ? numbers.pick([100, 300]) : 0,
    sleep: rough >= 2 ? numbers.pick([0, 60, 200]) : 0,
    jump: numbers.oneIn(8) ? 100 : 0,
    late: 6,
  };
}

/** Nobody may fail but of what was done to it. @throws {BrokenInvariant} */
function judge({ outcome, name, faults }: Actor, gone: ReadonlySet<string>): void {
  if (outcome?.state === "done" && name.startsWith("check")) {
    const [fault] = outcome.value as readonly unknown[];
    if (fault !== undefined) throw new BrokenInvariant(`${name} reports ${JSON.stringify(fault)}`);
  }
  if (outcome?.state !== "failed") return;
  const { error } = outcome;
  const isOfFault = faults > 0 && error instanceof BackendError;
  const isOfForgotten = [...gone].some((id) => name.includes(id.slice(0, 8)));
  if (isRefusal(error) || isOfFault || isOfForgotten) return;
  throw new BrokenInvariant(`${name} failed: ${String(error)}`, { cause: error });
}
