/**
 * Storage whose lists lag and that cannot put if absent: what is put shows in lists up to an hour late,
 * what was deleted lingers as long. The fallback (docs/decisions/0017-simulator.md) is a week's grace
 * and one host that prunes.
 */
import { CorruptionError } from "../../src/errors.ts";
import { recycleHashers } from "./hasher-pool.ts";
import { Numbers } from "./numbers.ts";
import { ObjectStore } from "./object-store.ts";
import type { Actor } from "./scheduler.ts";
import type { StartState } from "./start-states.ts";
import { BrokenInvariant } from "./watch.ts";
import { isRefusal, sparingly, World } from "./world.ts";

const hour = 3_600_000;
const settlingMs = hour;
const hosts = ["host1", "host2", "host3"];
const rounds = 5;

/** Some weeks of nights, each beside a prune. @throws {BrokenInvariant} */
export async function simulateLagging(
  seed: number,
  states: readonly StartState[],
  trace?: (line: string) => void,
): Promise<{ readonly freed: number; readonly refused: number }> {
  const numbers = new Numbers(seed);
  const start = numbers.pick(states);
  const store = new ObjectStore(start.store);
  const world = new World({ ...start, store, watch: start.watch.fork(store) }, numbers, {
    settlingMs,
    chances: {
      ...{ order: numbers.pick(["any", "sticky", "ranked"]), fault: 0, sleep: 0, jump: 0, late: 6 },
      crash: numbers.pick([0, 0, 200]),
    },
    ...(trace === undefined ? {} : { trace }),
  });
  if (seed % 2 === 0) world.storageSkewMs = 0;
  try {
    return await someWeeks(world, numbers);
  } finally {
    recycleHashers();
  }
}

async function someWeeks(
  world: World,
  numbers: Numbers,
): Promise<{ readonly freed: number; readonly refused: number }> {
  const { scheduler, time, watch } = world;
  const before = watch.visible;
  const gone = new Set<string>();
  const actors: Actor[] = [];
  for (let round = 0; round < rounds; round++) {
    const first = numbers.below(hosts.length);
    for (let n = numbers.pick([1, 2]); n > 0; n--)
      actors.push(world.backup(hosts[(first + n) % hosts.length]!, world.newDisk()));
    const ids = watch.visible.filter((id) => !gone.has(id));
    if (ids.length > 2 && numbers.oneIn(2)) {
      const chosen = numbers.pick(ids);
      gone.add(chosen);
      actors.push(world.forget("admin", [chosen]));
    }
    actors.push(world.prune("admin", { ...sparingly, graceMs: 24 * hour }));
    await scheduler.run();
    world.expectWhole();
    time.advanceTo(time.nowMs + numbers.pick([0.1, 0.6, 2, 24, 8 * 24]) * hour);
  }
  for (const actor of actors) judge(actor, gone);
  // When lists have settled, whoever looks finds everything.
  time.advanceTo(time.nowMs + 2 * settlingMs);
  const visible = new Set(watch.visible);
  for (const id of [...before, ...world.committed.keys()])
    if (!gone.has(id) && !visible.has(id))
      throw new BrokenInvariant(`snapshot ${id.slice(0, 8)} was committed, and does not count`);
  for (const id of world.committed.keys()) {
    if (gone.has(id)) continue;
    const reader = world.undisturbed(() => world.restore("reader", id));
    await scheduler.run();
    if (reader.outcome?.state === "failed")
      throw new BrokenInvariant(`${reader.name}: ${String(reader.outcome.error)}`);
  }
  const prunes = actors.filter(({ name }) => name.startsWith("prune"));
  const freed = prunes.filter(
    ({ outcome }) =>
      outcome?.state === "done" && (outcome.value as { bytesFreed: number }).bytesFreed > 0,
  ).length;
  return { freed, refused: actors.filter(({ outcome }) => outcome?.state === "failed").length };
}

/** A prune may find that the index does not show yet what a snapshot needs; backups and forgets may not fail. */
function judge({ outcome, name }: Actor, gone: ReadonlySet<string>): void {
  if (outcome?.state !== "failed") return;
  const { error } = outcome;
  if (isRefusal(error)) return;
  if (name.startsWith("prune") && error instanceof CorruptionError) return;
  if ([...gone].some((id) => name.includes(id.slice(0, 8)))) return;
  throw new BrokenInvariant(`${name} failed: ${String(error)}`, { cause: error });
}
