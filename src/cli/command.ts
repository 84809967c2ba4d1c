/** The shape of a command: one file each in commands/, thin over the library. */
import type { Options, PositionalOptions } from "yargs";
import type { Repository } from "../repo/index.ts";
import type { Host } from "./host.ts";
import type { ReadingPlans, RepositoryChoice, RepositoryOpener } from "./open-repository.ts";
import type { Output } from "./output.ts";

export interface CommandContext {
  readonly host: Host;
  readonly output: Output;
  readonly signal: AbortSignal;
  /**
   * Opens the repository named by the options, or another, with the key they name; closed when the
   * command ends.
   */
  readonly openRepository: (choice?: RepositoryChoice, plans?: ReadingPlans) => Promise<Repository>;
  readonly repositories: RepositoryOpener;
}

export interface Command {
  /** As yargs takes it: `ls <snapshot> [path]`. */
  readonly usage: string;
  readonly summary: string;
  readonly positionals?: Readonly<Record<string, PositionalOptions>>;
  readonly options?: Readonly<Record<string, Options>>;
  /** Command line and what it does. */
  readonly examples: readonly (readonly [string, string])[];
  /** Beside 0, 1, 2 and those of opening a repository. */
  readonly exitCodes?: Readonly<Record<number, string>>;
  /** Runs with a key that may only add backups; all others need a full one to open a repository. */
  readonly takesBackupKey?: boolean;
  /** Given to a word that is a command of a command: `key add`. */
  readonly subcommands?: readonly Command[];
  /** @returns the exit code where it is not 0 */
  run?(context: CommandContext, args: CommandArguments): Promise<number | undefined>;
}

/** Parsed arguments, read by type so that a command cannot mistake one. */
export class CommandArguments {
  readonly #values: Readonly<Record<string, unknown>>;

  constructor(values: Readonly<Record<string, unknown>>) {
    this.#values = values;
  }

  flag(name: string): boolean {
    return this.#last(name) === true;
  }

  text(name: string): string | undefined {
    const value = this.#last(name);
    return typeof value === "string" ? value : undefined;
  }

  /** A required positional. */
  word(name: string): string {
    return this.text(name) ?? "";
  }

  count(name: string): number | undefined {
    const value = this.#last(name);
    return typeof value === "number" ? value : undefined;
  }

  texts(name: string): string[] {
    const value = this.#values[name];
    if (value === undefined) return [];
    return (Array.isArray(value) ? value : [value]).map(String);
  }

  /** Of an option that is given twice and can only be had once, the last counts. */
  #last(name: string): unknown {
    const value = this.#values[name];
    return Array.isArray(value) ? value.at(-1) : value;
  }
}
