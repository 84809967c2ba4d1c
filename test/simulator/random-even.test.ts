/** Random runs, second half; see random-odd.test.ts. */
import { afterAll, beforeAll, test, vi } from "vitest";
import { prepare, runSeeds } from "./seeds.ts";
import { removeWorkFolder } from "./source.ts";
import type { StartState } from "./start-states.ts";

vi.mock("../../src/crypto/blake3.ts", async () => (await import("./stand-ins.ts")).blake3Module());
vi.mock("../../src/files/index.ts", async (original) =>
  (await import("./stand-ins.ts")).filesModule(original),
);
vi.mock("../../src/chunker/aligned-wasm.ts", async (original) =>
  (await import("./stand-ins.ts")).hasherModule(original),
);

let states: readonly StartState[];
beforeAll(async () => {
  states = await prepare();
});
afterAll(removeWorkFolder);

test("hosts at work at once, even seeds", { timeout: 3_600_000 }, () => runSeeds(states, 0));
