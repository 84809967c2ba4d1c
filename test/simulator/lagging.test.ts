/** Random runs over storage whose lists lag; see lagging.ts. */
import { afterAll, expect, test, vi } from "vitest";
import { simulateLagging } from "./lagging.ts";
import { prepare } from "./seeds.ts";
import { removeWorkFolder } from "./source.ts";

vi.mock("../../src/crypto/blake3.ts", async () => (await import("./stand-ins.ts")).blake3Module());
vi.mock("../../src/files/index.ts", async (original) =>
  (await import("./stand-ins.ts")).filesModule(original),
);
vi.mock("../../src/chunker/aligned-wasm.ts", async (original) =>
  (await import("./stand-ins.ts")).hasherModule(original),
);

afterAll(removeWorkFolder);

const seeds = Number(process.env["ASHLAR_SEEDS"] ?? 150);
const from = Number(process.env["ASHLAR_FROM"] ?? 1);

test("where lists lag nothing is lost, and space comes back", { timeout: 1_200_000 }, async () => {
  const states = await prepare();
  const total = { freed: 0, refused: 0 };
  const failures: string[] = [];
  for (let seed = from; seed < from + seeds && failures.length < 5; seed++) {
    try {
      const { freed, refused } = await simulateLagging(seed, states);
      total.freed += freed;
      total.refused += refused;
    } catch (error) {
      failures.push(`seed ${seed}: ${String(error)}`);
    }
  }
  console.log(`simulator, lists that lag: ${JSON.stringify({ seeds, ...total })}`);
  expect(failures).toEqual([]);
  expect(total.freed).toBeGreaterThan(seeds / 10);
});
