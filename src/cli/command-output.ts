/** A command's standard output as a source: if the command fails, its bytes must not be trusted. */
import { spawn } from "node:child_process";
import { FailedError } from "../errors.ts";

export interface CommandOutput {
  readonly bytes: AsyncIterable<Uint8Array>;
  /** @throws {FailedError} when the command could not be run, or did not end with 0 */
  readonly finished: () => Promise<void>;
}

export function commandOutput(words: readonly string[], cwd: string): CommandOutput {
  const [program, ...args] = words;
  const child = spawn(program!, args, { cwd, stdio: ["ignore", "pipe", "inherit"] });
  const end = new Promise<void>((resolve, reject) => {
    const failed = (why: string): void => {
      reject(
        new FailedError(`Cannot back up the output of ${program!}: ${why}`, {
          hint: "Nothing was committed",
        }),
      );
    };
    child.on("error", (error) => {
      failed(error.message);
    });
    child.on("close", (code, signal) => {
      if (code === 0) resolve();
      else failed(signal === null ? `it ended with ${code}` : `it was ended by ${signal}`);
    });
  });
  end.catch(() => undefined); // awaited by finished()
  return { bytes: child.stdout, finished: () => end };
}
