import { configDefaults, defineConfig } from "vitest/config";

const isSlow = process.env["SLOW"] !== undefined;

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // Minutes each, with a whole Debian: SLOW=1.
    exclude: [...configDefaults.exclude, ...(isSlow ? [] : ["test/slow/**"])],
    // Many start the program a dozen times, and a CI machine may be busy with others' work.
    testTimeout: 180_000,
    hookTimeout: 180_000,
    pool: "forks",
    maxWorkers: 2,
  },
});
