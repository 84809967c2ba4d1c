import { readFileSync } from "node:fs";
import { FailedError } from "../errors.ts";
import { nameFromBytes } from "../names.ts";
import { parsePatternFile } from "../files/index.ts";

/** Patterns from `--exclude-file` and its like, in order. @throws {FailedError} when one cannot be read */
export function readPatternFiles(paths: readonly string[]): string[] {
  return paths.flatMap((path) => {
    try {
      return parsePatternFile(nameFromBytes(readFileSync(path)));
    } catch (error) {
      throw new FailedError(
        `Cannot read pattern file ${path}: ${error instanceof Error ? error.message : String(error)}`,
        { cause: error },
      );
    }
  });
}
