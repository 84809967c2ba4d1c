/** The built program, run as a user runs it: `node dist/cli/main.js …` in a process of its own. */
import { spawn, type ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const programPath = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));

export interface ProgramResult {
  readonly code: number;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ProgramOptions {
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly cwd?: string;
  /** Bytes for its standard input; without it, input is empty. */
  readonly input?: Uint8Array;
}

/** A place to work in and the program bound to a repository, a cache and a key file in it (`init` makes it). */
export class Workplace {
  readonly folder: string;

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async create(parent = tmpdir()): Promise<Workplace> {
    if (!existsSync(programPath))
      throw new Error(`${programPath} is not there: npm run build makes it`);
    return new Workplace(await mkdtemp(join(parent, "ashlar-e2e-")));
  }

  path(...parts: string[]): string {
    return join(this.folder, ...parts);
  }

  get env(): Record<string, string | undefined> {
    return {
      PATH: process.env["PATH"],
      HOME: this.folder,
      TZ: "UTC",
      ASHLAR_REPO: this.path("repo"),
      // A password costs half a second a run: tests of passwords take this away and set ASHLAR_PASSWORD.
      ASHLAR_KEY_FILE: this.path("key"),
      ASHLAR_CACHE_DIR: this.path("cache"),
    };
  }

  start(args: readonly string[], options: ProgramOptions = {}): ChildProcess {
    return spawn(process.execPath, [programPath, ...args], {
      cwd: options.cwd ?? this.folder,
      env: { ...this.env, ...options.env },
      stdio: ["pipe", "pipe", "pipe"],
    });
  }

  run(args: readonly string[], options: ProgramOptions = {}): Promise<ProgramResult> {
    const child = this.start(args, options);
    return collect(child, options.input);
  }

  /** Runs and fails the test, with what the program said, unless it ends with `code`. */
  async expect(
    code: number,
    args: readonly string[],
    options: ProgramOptions = {},
  ): Promise<ProgramResult> {
    const result = await this.run(args, options);
    if (result.code !== code) {
      throw new Error(
        `ashlar ${args.join(" ")} ended with ${result.code}, not ${code}\n${result.stdout}\n${result.stderr}`,
      );
    }
    return result;
  }

  /** The one JSON document, or the last line of a stream of them. */
  async json<T = Record<string, unknown>>(
    args: readonly string[],
    options: ProgramOptions = {},
    code = 0,
  ): Promise<T> {
    const { stdout } = await this.expect(code, [...args, "--json"], options);
    return JSON.parse(stdout.trimEnd().split("\n").at(-1) ?? "") as T;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.folder, { recursive: true, force: true });
  }
}

export async function collect(child: ChildProcess, input?: Uint8Array): Promise<ProgramResult> {
  let stdout = "";
  let stderr = "";
  child.stdout?.setEncoding("utf8").on("data", (text: string) => (stdout += text));
  child.stderr?.setEncoding("utf8").on("data", (text: string) => (stderr += text));
  child.stdin?.on("error", () => undefined); // it may end before it has read all
  child.stdin?.end(input ?? new Uint8Array());
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => {
      resolve({ code: code ?? -1, signal, stdout, stderr });
    });
  });
}
