/** A program that runs beside us until it is ended, and what it says if it fails. */
import { type ChildProcess, spawn } from "node:child_process";
import { setTimeout } from "node:timers/promises";
import { FailedError } from "../errors.ts";
import { printableName } from "../names.ts";

const pollMs = 10;
const talkBytesMax = 8192;

export class Tool {
  readonly name: string;
  readonly ended: Promise<void>;
  readonly #child: ChildProcess;
  #isRunning = true;
  #isMissing = false;
  #talk = "";

  constructor(name: string, args: readonly string[], env: NodeJS.ProcessEnv) {
    this.name = name;
    // A group of its own: Ctrl-C is for us, who end it when nothing is read from it any more.
    this.#child = spawn(name, args, { stdio: ["ignore", "pipe", "pipe"], detached: true, env });
    for (const stream of [this.#child.stdout!, this.#child.stderr!])
      stream.setEncoding("utf8").on("data", (text: string) => {
        if (this.#talk.length < talkBytesMax) this.#talk += text.slice(0, talkBytesMax);
      });
    this.ended = new Promise((resolve) => {
      this.#child.once("error", (error) => {
        this.#isMissing = (error as NodeJS.ErrnoException).code === "ENOENT";
        this.#isRunning = false;
        resolve();
      });
      this.#child.once("close", () => {
        this.#isRunning = false;
        resolve();
      });
    });
  }

  /**
   * Waits until it does what it is for.
   *
   * @param packages  where it is found when it is not installed
   * @throws {FailedError} when it ends before, or takes longer than that
   */
  async until(
    isReady: () => Promise<boolean>,
    limitMs: number,
    packages: string,
    signal: AbortSignal,
  ): Promise<void> {
    for (let waitedMs = 0; waitedMs < limitMs; waitedMs += pollMs) {
      signal.throwIfAborted();
      if (this.#isRunning && (await isReady())) return;
      if (this.#isMissing) {
        throw new FailedError(`Cannot look into the image: ${this.name} is not installed`, {
          hint: `Install ${packages}`,
        });
      }
      if (!this.#isRunning) {
        throw new FailedError(`Cannot look into the image: ${this.name} says: ${this.#lastWords}`, {
          hint: "A damaged file system? Serve the disk and look at it with the guest's own tools: ashlar serve nbd",
        });
      }
      await setTimeout(pollMs);
    }
    throw new FailedError(`Cannot look into the image: ${this.name} did not begin in time`);
  }

  kill(): void {
    if (this.#isRunning) this.#child.kill("SIGKILL");
  }

  get #lastWords(): string {
    const lines = this.#talk.trim().split("\n");
    // libguestfs says first what is wrong, then at length how to find out more.
    const fault = lines.find((line) => line.includes("error:"));
    const text = fault ?? lines.slice(-2).join("; ");
    return text === "" ? "nothing" : printableName(text);
  }
}
