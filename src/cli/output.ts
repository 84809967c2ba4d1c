/**
 * What a command says. Data goes to stdout, talk to stderr; `--json` turns the data into documents
 * of docs/json.md; `--quiet` leaves only warnings and errors.
 *
 * Names, hosts, tags and servers' words were written by others: no sequence of them reaches a terminal
 * that would obey it, whoever forgot to escape it.
 */
import type { Host } from "./host.ts";
import { StoreError } from "../errors.ts";
import { harmlessJson, harmlessText } from "../names.ts";
import { ProgressLine } from "./progress.ts";

export interface OutputOptions {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly verbose: boolean;
  readonly debug: boolean;
}

export class Output {
  readonly options: OutputOptions;
  readonly #host: Host;
  readonly #progress: ProgressLine;
  #warnings = 0;

  constructor(host: Host, options: OutputOptions) {
    this.#host = host;
    this.options = options;
    this.#progress = new ProgressLine(host, options);
  }

  get json(): boolean {
    return this.options.json;
  }

  get warnings(): number {
    return this.#warnings;
  }

  /** A line of the answer, for people. Nothing with `--json` or `--quiet`. */
  line(text = ""): void {
    if (this.options.json || this.options.quiet) return;
    this.#progress.clear();
    this.#host.stdout.write(`${harmlessText(text)}\n`);
  }

  /** The answer itself, which `--quiet` does not take away: what was asked for with `ls` or `cat`. */
  answer(text: string): void {
    this.#progress.clear();
    this.#host.stdout.write(`${harmlessText(text)}\n`);
  }

  /** A line that only `--verbose` shows. */
  detail(text: string): void {
    if (this.options.verbose && !this.options.json) this.talk(text);
  }

  /** Talk to the person, on stderr; nothing with `--quiet` or `--json`. */
  talk(text: string): void {
    if (this.options.quiet || this.options.json) return;
    this.#progress.clear();
    this.#host.stderr.write(`${harmlessText(text)}\n`);
  }

  /** Something was left out or looks wrong: always shown, even with `--quiet`. */
  warn(text: string): void {
    this.#warnings++;
    this.#progress.clear();
    const line = this.options.json
      ? harmlessJson({ message_type: "warning", message: text })
      : `warning: ${harmlessText(text)}`;
    this.#host.stderr.write(`${line}\n`);
  }

  /** One JSON document on a line of its own. */
  document(value: unknown): void {
    this.#host.stdout.write(`${harmlessJson(value, jsonValue)}\n`);
  }

  /** The last document of a long command. */
  summary(fields: object): void {
    if (this.options.json) this.document({ message_type: "summary", ...fields });
  }

  /** Progress of long work: a line that is redrawn on a terminal, status documents with `--json`. */
  get progress(): ProgressLine {
    return this.#progress;
  }

  error(error: unknown): void {
    this.#progress.clear();
    const known = error instanceof StoreError ? error : undefined;
    const message = error instanceof Error ? error.message : String(error);
    const isBug = known === undefined || known.exitCode === 70;
    const stack =
      (this.options.debug || isBug) && error instanceof Error ? stackOf(error) : undefined;
    if (this.options.json) {
      const fields = {
        message_type: "exit_error",
        code: exitCodeOf(error),
        error: known?.code ?? "bug",
        message,
        hint: known?.hint,
        stack,
      };
      this.#host.stderr.write(`${harmlessJson(fields)}\n`);
      return;
    }
    this.#host.stderr.write(`ashlar: ${harmlessText(message)}\n`);
    if (known?.hint !== undefined) this.#host.stderr.write(`  ${harmlessText(known.hint)}\n`);
    if (stack !== undefined) this.#host.stderr.write(`${harmlessText(stack)}\n`);
    if (isBug)
      this.#host.stderr.write(
        "This is a fault of ashlar itself. Please report it with the lines above.\n",
      );
  }
}

export function exitCodeOf(error: unknown): number {
  return error instanceof StoreError ? error.exitCode : 70;
}

function stackOf(error: Error): string {
  const own = error.stack ?? error.message;
  return error.cause instanceof Error ? `${own}\ncaused by: ${stackOf(error.cause)}` : own;
}

function jsonValue(_key: string, value: unknown): unknown {
  return typeof value === "bigint" ? Number(value) : value;
}
