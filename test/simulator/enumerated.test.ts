/**
 * Two runs at a time, and every point at which one may give way to the other: the first goes on to its
 * n-th call, then the second to its end, then the rest of the first; for all n, and both ways round.
 */
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { recycleHashers } from "./hasher-pool.ts";
import { Numbers } from "./numbers.ts";
import { ObjectStore } from "./object-store.ts";
import { type Actor, calm, type PickNext } from "./scheduler.ts";
import { prepare } from "./seeds.ts";
import { removeWorkFolder } from "./source.ts";
import type { StartState } from "./start-states.ts";
import { isRefusal, sparingly, World } from "./world.ts";

vi.mock("../../src/crypto/blake3.ts", async () => (await import("./stand-ins.ts")).blake3Module());
vi.mock("../../src/files/index.ts", async (original) =>
  (await import("./stand-ins.ts")).filesModule(original),
);
vi.mock("../../src/chunker/aligned-wasm.ts", async (original) =>
  (await import("./stand-ins.ts")).hasherModule(original),
);

const hour = 3_600_000;
let states: readonly StartState[];
beforeAll(async () => {
  states = await prepare();
});
afterAll(removeWorkFolder);

type Starter = (world: World) => Actor;

const backup: Starter = (world) => world.backup("host1", world.newDisk());
const pruneAtOnce: Starter = (world) => world.prune("admin", sparingly);
const pruneLater: Starter = (world) => world.prune("admin2", { ...sparingly, graceMs: hour });
const forget: Starter = (world) => world.forget("admin", world.watch.visible.slice(0, 1));
const restore: Starter = (world) => world.restore("reader", world.watch.visible.at(-1)!);

test.each([
  { name: "a backup, and a prune without a grace", runs: [backup, pruneAtOnce], every: 1 },
  { name: "a backup, and a prune that sweeps marks", runs: [backup, pruneLater], every: 2 },
  { name: "two prunes", runs: [pruneAtOnce, pruneLater], every: 2 },
  { name: "a forget, and a prune without a grace", runs: [forget, pruneAtOnce], every: 2 },
  { name: "a restore, and a prune without a grace", runs: [restore, pruneAtOnce], every: 2 },
])("$name", { timeout: 600_000 }, async ({ runs, every }) => {
  for (const starters of [runs, runs.toReversed()]) {
    let hasEnded = false;
    for (let turns = 0; !hasEnded; turns += every) hasEnded = await interleave(starters, turns);
  }
});

/** @returns whether the first had ended before its turns were over */
async function interleave(starters: readonly Starter[], turns: number): Promise<boolean> {
  let left = turns;
  const running: { first?: Actor } = {};
  const pickNext: PickNext = (choices) => {
    const own = choices.find(({ actor }) => actor === running.first);
    const other = choices.find(({ actor }) => actor !== running.first);
    if (own !== undefined && left > 0) left--;
    else if (other !== undefined) return other;
    return own ?? other!;
  };
  // One that was left with something to forget and something to sweep.
  const start = states[(turns % 2) * 10 + 4]!;
  const store = new ObjectStore(start.store);
  const state = { ...start, store, watch: start.watch.fork(store) };
  const world = new World(state, new Numbers(turns), { settlingMs: 0, chances: calm, pickNext });
  const actors = starters.map((starter) => starter(world));
  running.first = actors[0]!;
  await world.scheduler.run();
  recycleHashers();
  world.expectWhole();
  for (const { outcome, name } of actors)
    if (outcome?.state === "failed" && !isRefusal(outcome.error))
      expect(outcome.error, `${name}, after ${turns} calls`).toBeUndefined();
  for (const id of world.committed.keys())
    expect(world.watch.visible, `after ${turns} calls`).toContain(id);
  return left > 0;
}
