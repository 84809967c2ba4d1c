import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import * as errors from "../../src/errors.ts";

const page = readFileSync(new URL("../../docs/errors.md", import.meta.url), "utf8");

describe("docs/errors.md", () => {
  type ErrorClass = new (message: string) => errors.StoreError;
  const classes = Object.values(errors).filter(
    (value) => typeof value === "function" && value.prototype instanceof errors.StoreError,
  ) as unknown as ErrorClass[];

  it.each(classes.map((make) => [make.name, make] as const))(
    "names %s with its exit code",
    (_name, make) => {
      const error = new make("x");
      expect(page).toContain(`| ${error.exitCode} | \`${error.code}\` |`);
    },
  );
});
