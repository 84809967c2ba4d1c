/** Can the simulator fail? Each rule of the collector is left out alone, and some seed must show it. */
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { breaks, broken } from "./broken.ts";
import { type Leaning, simulate } from "./scenario.ts";
import { prepare } from "./seeds.ts";
import { removeWorkFolder } from "./source.ts";
import type { StartState } from "./start-states.ts";

vi.mock("../../src/crypto/blake3.ts", async () => (await import("./stand-ins.ts")).blake3Module());
vi.mock("../../src/files/index.ts", async (original) =>
  (await import("./stand-ins.ts")).filesModule(original),
);
vi.mock("../../src/chunker/aligned-wasm.ts", async (original) =>
  (await import("./stand-ins.ts")).hasherModule(original),
);
vi.mock("../../src/repo/ops/collector/sweep-plan.ts", async (original) =>
  (await import("./broken.ts")).sweepPlan(original),
);
vi.mock("../../src/repo/ops/collector/census.ts", async (original) =>
  (await import("./broken.ts")).census(original),
);
vi.mock("../../src/repo/ops/collector/view.ts", async (original) =>
  (await import("./broken.ts")).view(original),
);
vi.mock("../../src/repo/ops/collector/live-set.ts", async (original) =>
  (await import("./broken.ts")).liveSet(original),
);
vi.mock("../../src/repo/ops/collector/sweep.ts", async (original) =>
  (await import("./broken.ts")).sweeping(original),
);
vi.mock("../../src/repo/ops/protocol.ts", async (original) =>
  (await import("./broken.ts")).repositories(original),
);
vi.mock("../../src/repo/ops/released-marks.ts", async (original) =>
  (await import("./broken.ts")).acknowledging(original),
);
vi.mock("../../src/repo/ops/commit.ts", async (original) =>
  (await import("./broken.ts")).commits(original),
);

/** Each was found within a hundred when this was written. */
const seedsMost = Number(process.env["ASHLAR_BREAK_SEEDS"] ?? 400);

let states: readonly StartState[];
beforeAll(async () => {
  states = await prepare();
});
afterAll(removeWorkFolder);

test.each(breaks)("%s", { timeout: 600_000 }, async (how, leaning) => {
  broken.how = how;
  try {
    const found = await firstToFail(leaning);
    console.log(`${how}: ${found ?? "not found"}`);
    expect(found).toBeDefined();
  } finally {
    broken.how = undefined;
  }
});

test("the same seed is the same run, call by call", async () => {
  for (const seed of [1, 2, 3, 4, 5, 6]) {
    const [first, second] = [await traceOf(seed), await traceOf(seed)];
    expect(first.length).toBeGreaterThan(20);
    expect(second).toEqual(first);
  }
});

async function traceOf(seed: number): Promise<string[]> {
  const lines: string[] = [];
  await simulate(seed, states, (line) => lines.push(line));
  return lines;
}

async function firstToFail(leaning: Leaning | undefined): Promise<string | undefined> {
  for (let seed = 1; seed <= seedsMost; seed++) {
    try {
      await simulate(seed, states, undefined, leaning);
    } catch (error) {
      return `seed ${seed}: ${String(error)}`;
    }
  }
  return undefined;
}
