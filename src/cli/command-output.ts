/** A command's standard output as a source: if the command fails, its bytes must not be trusted. */
import { spawn, type ChildProcess } from "node:child_process";
import { FailedError } from "../errors.ts";

export interface CommandOutput {
  readonly bytes: AsyncIterable<Uint8Array>;
  /** @throws {FailedError} when the command could not be run, or did not end with 0 */
  readonly finished: () => Promise<void>;
  readonly cancel: () => void;
}

/** The command starts when its first byte is asked for: not before the repository is open. */
export function commandOutput(words: readonly string[], cwd: string): CommandOutput {
  const command = new RunningCommand(words, cwd);
  return {
    bytes: command.bytes(),
    finished: () => command.end(),
    cancel: () => {
      command.cancel();
    },
  };
}

class RunningCommand {
  readonly #words: readonly string[];
  readonly #cwd: string;
  #child: ChildProcess | undefined;
  #end: Promise<void> = Promise.resolve();

  constructor(words: readonly string[], cwd: string) {
    this.#words = words;
    this.#cwd = cwd;
  }

  async *bytes(): AsyncGenerator<Uint8Array> {
    const [program, ...args] = this.#words;
    const child = spawn(program!, args, { cwd: this.#cwd, stdio: ["ignore", "pipe", "inherit"] });
    this.#child = child;
    this.#end = ending(child, program!);
    this.#end.catch(() => undefined); // awaited by end()
    yield* child.stdout as AsyncIterable<Uint8Array>;
  }

  end(): Promise<void> {
    return this.#end;
  }

  /** A command that will not end when it is asked to is not waited for. */
  cancel(): void {
    this.#child?.stdout?.destroy();
    this.#child?.kill();
    this.#child?.unref();
  }
}

function ending(child: ChildProcess, program: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const failed = (why: string): void => {
      reject(
        new FailedError(`Cannot back up the output of ${program}: ${why}`, {
          hint: "Nothing was committed",
        }),
      );
    };
    child.on("error", (error) => {
      failed(
        "code" in error && error.code === "ENOENT" ? "there is no such program" : error.message,
      );
    });
    child.on("close", (code, signal) => {
      if (code === 0) resolve();
      else failed(signal === null ? `it ended with ${code}` : `it was ended by ${signal}`);
    });
  });
}
