import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { simulate } from "./scenario.ts";
import { removeWorkFolder, workFolder } from "./source.ts";
import { makeStartStates, type StartState } from "./start-states.ts";
import { mkdirSync } from "node:fs";

vi.mock("../../src/crypto/blake3.ts", async () => (await import("./stand-ins.ts")).blake3Module());
vi.mock("../../src/files/index.ts", async (original) =>
  (await import("./stand-ins.ts")).filesModule(original),
);
vi.mock("../../src/chunker/aligned-wasm.ts", async (original) =>
  (await import("./stand-ins.ts")).hasherModule(original),
);

let states: readonly StartState[];
beforeAll(async () => {
  mkdirSync(workFolder, { recursive: true });
  process.env["TMPDIR"] = workFolder;
  const t = performance.now();
  states = await makeStartStates();
  console.log("states", performance.now() - t);
});
afterAll(removeWorkFolder);

test("runs", { timeout: 600_000 }, async () => {
  const first = Number(process.env["ASHLAR_SEED"] ?? 1);
  const count = process.env["ASHLAR_SEED"] ? 1 : Number(process.env["ASHLAR_SEEDS"] ?? 100);
  const c = process.cpuUsage();
  const t = performance.now();
  let steps = 0,
    committed = 0,
    dead = 0,
    refused = 0,
    failed = 0;
  for (let seed = first; seed < first + count; seed++) {
    const lines: string[] = [];
    try {
      const r = await simulate(seed, states, (line) => lines.push(line));
      steps += r.steps;
      committed += r.committed;
      dead += r.dead;
      refused += r.refused;
    } catch (error) {
      failed++;
      console.log(`seed ${seed}: ${String(error)}`);
      if (count === 1) {
        console.log(lines.join("\n"));
        console.log(error);
      }
    }
  }
  const u = process.cpuUsage(c);
  console.log({
    count,
    failed,
    steps: steps / count,
    committed: committed / count,
    dead,
    refused,
    cpu: (u.user + u.system) / 1000 / count,
    wall: (performance.now() - t) / count,
  });
  expect(failed).toBe(0);
});
