/**
 * Which seeds a test file runs, and what it prints.
 *
 *   ASHLAR_SEED=n    that one, with a trace of every call
 *   ASHLAR_SEEDS=n   as many as that instead of CI's, from ASHLAR_FROM on (1 unless given)
 */
import { mkdirSync } from "node:fs";
import { expect } from "vitest";
import { type Leaning, type RunResult, simulate } from "./scenario.ts";
import { workFolder } from "./source.ts";
import { makeStartStates, type StartState } from "./start-states.ts";

/** Less than four minutes of two cores that have nothing else to do. */
const ciSeeds = 10_000;
/** More say nothing new. */
const failuresShown = 5;

export async function prepare(): Promise<readonly StartState[]> {
  mkdirSync(workFolder, { recursive: true });
  // Caches of simulated runs go to memory, too.
  process.env["TMPDIR"] = workFolder;
  return makeStartStates();
}

/** Every seed of one half: odd or even, so that two processes share them. */
export async function runSeeds(states: readonly StartState[], half: 0 | 1): Promise<void> {
  const one = process.env["ASHLAR_SEED"];
  if (one !== undefined) {
    if (Number(one) % 2 === half) await replay(states, Number(one));
    return;
  }
  const first = Number(process.env["ASHLAR_FROM"] ?? 1);
  const end = first + Number(process.env["ASHLAR_SEEDS"] ?? ciSeeds);
  const total = { runs: 0, steps: 0, done: 0, dead: 0, refused: 0 };
  const failures: string[] = [];
  for (let seed = first; seed < end && failures.length < failuresShown; seed++) {
    if (seed % 2 !== half) continue;
    try {
      add(total, await simulate(seed, states, undefined, leaningOf(seed)));
    } catch (error) {
      failures.push(`seed ${seed}: ${String(error)}`);
    }
  }
  console.log(`simulator: ${JSON.stringify(total)}`);
  expect(failures, "replay one: ASHLAR_SEED=n npx vitest run test/simulator").toEqual([]);
}

function leaningOf(seed: number): Leaning | undefined {
  if (seed % 16 === 3) return "slow";
  return seed % 16 === 6 ? "sudden" : undefined;
}

async function replay(states: readonly StartState[], seed: number): Promise<void> {
  const lines: string[] = [];
  try {
    const result = await simulate(seed, states, (line) => lines.push(line), leaningOf(seed));
    lines.push(`seed ${seed} ends well: ${JSON.stringify(result)}`);
  } finally {
    console.log(lines.join("\n"));
  }
}

function add(total: { runs: number } & Record<keyof RunResult, number>, run: RunResult): void {
  total.runs++;
  for (const key of ["steps", "done", "dead", "refused"] as const) total[key] += run[key];
}
