/** One short run, all of it from a seed: who is at work at once, what goes wrong, and what must hold in the end. */
import { BackendError } from "../../src/errors.ts";
import { recycleHashers } from "./hasher-pool.ts";
import { Numbers } from "./numbers.ts";
import { ObjectStore } from "./object-store.ts";
import type { Actor, Chances } from "./scheduler.ts";
import type { StartState } from "./start-states.ts";
import { BrokenInvariant } from "./watch.ts";
import { isRefusal, sparingly, World } from "./world.ts";

const hour = 3_600_000;
const hosts = ["host1", "host2", "host3"];

export interface RunResult {
  readonly steps: number;
  readonly committed: number;
  readonly dead: number;
  readonly refused: number;
}

export async function simulate(
  seed: number,
  states: readonly StartState[],
  trace?: (line: string) => void,
): Promise<RunResult> {
  const numbers = new Numbers(seed);
  const start = numbers.pick(states);
  const store = new ObjectStore(start.store);
  const world = new World({ store, watch: start.watch.fork(store), nowMs: start.nowMs }, numbers, {
    settlingMs: 0,
    chances: chancesOf(numbers),
    ...(trace === undefined ? {} : { trace }),
  });
  if (numbers.oneIn(3))
    for (const host of [...hosts, "admin", "admin2"])
      world.setSkew(host, numbers.pick([-26, -1, 0, 0, 0.4, 25]) * hour);
  const before = world.watch.visible;
  const gone = new Set<string>();
  const actors: Actor[] = [];
  for (let round = 0; round < 2; round++) {
    actors.push(...startSome(world, numbers, gone, round));
    await world.scheduler.run(world.time.nowMs + 12 * hour);
    world.expectWhole();
    world.time.advanceTo(world.time.nowMs + numbers.pick([0.1, 0.6, 2, 25]) * hour);
  }
  await world.scheduler.run();
  world.expectWhole();
  for (const actor of actors) judge(actor, gone);
  expectKept(world, before, gone);
  const [id] = [...world.committed.keys()].filter((one) => !gone.has(one));
  if (id !== undefined) await expectRestores(world, id, numbers);
  const states_ = actors.map(({ outcome }) => outcome!.state);
  recycleHashers();
  return {
    steps: world.scheduler.steps,
    committed: world.committed.size,
    dead: states_.filter((state) => state === "dead").length,
    refused: states_.filter((state) => state === "failed").length,
  };
}

function chancesOf(numbers: Numbers): Chances {
  const rough = numbers.below(4);
  return {
    order: numbers.pick(["any", "sticky", "ranked", "ranked"]),
    crash: rough === 1 ? numbers.pick([60, 200]) : 0,
    fault: rough === 2 ? numbers.pick([60, 200]) : 0,
    sleep: rough >= 2 ? numbers.pick([0, 60, 200]) : 0,
    jump: numbers.oneIn(8) ? 100 : 0,
  };
}

function startSome(world: World, numbers: Numbers, gone: Set<string>, round: number): Actor[] {
  const actors: Actor[] = [];
  const backups = numbers.between(1 - round, 2 - round);
  for (let n = 0; n < backups; n++)
    actors.push(world.backup(hosts[(n + numbers.below(3)) % 3]!, world.newDisk()));
  const ids = world.watch.visible.filter((id) => !gone.has(id));
  if (numbers.oneIn(2) && ids.length > 1) {
    const chosen = ids.filter(() => numbers.oneIn(3)).slice(0, 3);
    for (const id of chosen) gone.add(id);
    if (chosen.length > 0) actors.push(world.forget("admin", chosen));
  }
  const grace = (): number => numbers.pick([0, 0, 1, 24]) * hour;
  if (round > 0 || !numbers.oneIn(3))
    actors.push(world.prune("admin", { ...sparingly, graceMs: grace() }));
  if (numbers.oneIn(4)) actors.push(world.prune("admin2", { ...sparingly, graceMs: grace() }));
  if (numbers.oneIn(6) && ids.length > 0) actors.push(world.restore("reader", numbers.pick(ids)));
  if (numbers.oneIn(12)) actors.push(world.check("checker", false));
  return actors;
}

/** Nobody may fail but of what was done to it. */
function judge(actor: Actor, gone: ReadonlySet<string>): void {
  const { outcome, name } = actor;
  if (
    outcome?.state === "done" &&
    name.startsWith("check") &&
    Array.isArray(outcome.value) &&
    outcome.value.length > 0
  )
    throw new BrokenInvariant(`${name} reports ${JSON.stringify(outcome.value[0])}`);
  if (outcome?.state !== "failed") return;
  const { error } = outcome;
  if (isRefusal(error)) return;
  if (error instanceof BackendError && actor.faults > 0) return;
  const isOfForgotten = [...gone].some((id) => name.includes(id.slice(0, 8)));
  if (isOfForgotten) return;
  throw new BrokenInvariant(`${name} failed: ${String(error)}`, { cause: error });
}

/** What was there and was not forgotten, and what a run was told is committed. */
function expectKept(world: World, before: readonly string[], gone: ReadonlySet<string>): void {
  const visible = new Set(world.watch.visible);
  for (const id of [...before, ...world.committed.keys()])
    if (!gone.has(id) && !visible.has(id))
      throw new BrokenInvariant(`snapshot ${id.slice(0, 8)} was committed and does not count`);
}

async function expectRestores(world: World, id: string, _numbers: Numbers): Promise<void> {
  const actor = world.restore("reader", id);
  await world.scheduler.run();
  judge(actor, new Set());
}
