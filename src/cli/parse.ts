/** Arguments to a command and its options, by yargs; every mistake in them is a UsageError with a hint. */
import yargs, { type Argv, type Options } from "yargs";
import { UsageError } from "../errors.ts";
import { type Command, CommandArguments } from "./command.ts";
import { commandNames, loadCommand } from "./commands/index.ts";
import type { Host } from "./host.ts";
import { globalOptions } from "./options.ts";
import { toolVersion } from "./tool-version.ts";

export interface Invocation {
  readonly command: Command;
  readonly args: CommandArguments;
}

type Choose = (command: Command, values: Record<string, unknown>) => void;

/** @returns undefined where parsing itself answered: help, version, completion */
export async function parseCommandLine(host: Host): Promise<Invocation | undefined> {
  const isCompletion = host.argv.includes("--get-yargs-completions");
  const word = isCompletion ? undefined : commandWord(host.argv);
  if (word !== undefined && !commandNames.includes(word)) throw unknownCommand(word);
  const loaded = await Promise.all((word === undefined ? commandNames : [word]).map(loadCommand));

  let chosen: Invocation | undefined;
  const shows = isCompletion || wantsHelp(host.argv) ? asTheyAre : hidden;
  let parser = rootParser(host, word === undefined ? undefined : loaded[0], shows);
  for (const command of loaded) {
    parser = addCommand(parser, command, shows, (named, values) => {
      chosen = { command: named, args: new CommandArguments(values) };
    });
  }
  let printed = "";
  await parser.parseAsync(
    [...host.argv],
    {},
    (_error: Error | undefined | null, _args: unknown, text: string) => {
      printed = text;
    },
  );
  if (printed === "" && chosen !== undefined) return chosen;
  if (printed !== "") host.stdout.write(`${printed}\n`);
  return undefined;
}

function wantsHelp(argv: readonly string[]): boolean {
  return argv.length === 0 || argv.some((word) => word === "--help" || /^-[a-z]*h/.test(word));
}

/**
 * What to tell yargs of options. It lays out a command's whole help whenever the command is run,
 * which takes a seventh of the start; of what is hidden it lays out nothing.
 */
type Shows = (options: Readonly<Record<string, Options>>) => Record<string, Options>;

const asTheyAre: Shows = (options) => ({ ...options });

const hidden: Shows = (options) =>
  Object.fromEntries(
    Object.entries(options).map(([name, option]) => [name, { ...option, hidden: true }]),
  );

/** The first word that is neither an option nor an option's value. */
function commandWord(argv: readonly string[]): string | undefined {
  for (let at = 0; at < argv.length; at++) {
    const argument = argv[at]!;
    if (argument === "--") return undefined;
    if (!argument.startsWith("-")) return argument;
    if (takesValue(argument)) at++;
  }
  return undefined;
}

function takesValue(argument: string): boolean {
  return Object.entries(globalOptions).some(
    ([name, { alias, requiresArg }]) =>
      requiresArg === true &&
      (argument === `--${name}` || (typeof alias === "string" && argument === `-${alias}`)),
  );
}

function unknownCommand(word: string): UsageError {
  const alike = commandNames.filter((name) => name.startsWith(word.slice(0, 2)));
  const guess = alike.length === 0 ? "" : `Did you mean ${alike.join(" or ")}? `;
  return new UsageError(`Unknown command: ${word}`, { hint: `${guess}See: ashlar --help` });
}

function rootParser(host: Host, command: Command | undefined, shows: Shows): Argv<unknown> {
  return yargs()
    .scriptName("ashlar")
    .usage(
      "$0 <command>\n\nNightly backups of whole virtual-machine images, and of files, into encrypted repositories that anyone may host.",
    )
    .parserConfiguration({
      // `--no-image GLOB` is an option of its own.
      "boolean-negation": false,
      // Repeatable options keep all their values; of the others the last counts (CommandArguments).
      "duplicate-arguments-array": true,
      "populate--": true,
      "camel-case-expansion": false,
      "parse-numbers": true,
      "parse-positional-numbers": false,
      "dot-notation": false,
    })
    .options(shows(globalOptions))
    .version(toolVersion)
    .help()
    .alias("help", "h")
    .strict()
    .exitProcess(false)
    .wrap(shows === hidden ? null : Math.min(110, host.stderr.columns ?? 100))
    .demandCommand(1, "No command was given")
    .epilogue("Exit codes and what to do about each: docs/errors.md.")
    .fail((message: string | null, error: Error | undefined) => {
      // yargs' own errors, too, are about what was typed.
      if (error !== undefined && error.name !== "YError") throw error;
      throw usageError(message ?? error?.message ?? "Cannot read the arguments", command);
    });
}

function usageError(message: string, command: Command | undefined): UsageError {
  if (command === undefined) return new UsageError(message, { hint: "See: ashlar --help" });
  const name = command.usage.split(" ")[0]!;
  const text = message.startsWith("Not enough non-option arguments")
    ? `Cannot run ashlar ${name}: it takes ${command.usage.slice(name.length + 1)}`
    : message;
  return new UsageError(text, { hint: `See: ashlar ${name} --help` });
}

function addCommand(
  parser: Argv<unknown>,
  command: Command,
  shows: Shows,
  choose: Choose,
): Argv<unknown> {
  return parser.command(
    command.usage,
    command.summary,
    (inner: Argv<unknown>) => {
      for (const [name, options] of Object.entries(command.positionals ?? {}))
        inner.positional(name, options);
      inner.options(shows(command.options ?? {}));
      for (const [line, does] of command.examples) inner.example(`$0 ${line}`, does);
      for (const sub of command.subcommands ?? []) addCommand(inner, sub, shows, choose);
      if (command.subcommands !== undefined) {
        const names = command.subcommands.map((sub) => sub.usage.split(" ")[0]!);
        inner.demandCommand(
          1,
          `Cannot run ashlar ${command.usage}: say which of ${names.join(", ")}`,
        );
      }
      return inner.epilogue(exitCodeText(command));
    },
    (values) => {
      if (command.run === undefined) return;
      checkNumbers(command.options ?? {}, values);
      choose(command, withWordsAfterDashes(command, values));
    },
  );
}

/** What stands after `--` is no option, whatever it begins with: more of the words that the command takes. */
function withWordsAfterDashes(
  command: Command,
  values: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const { "--": words, ...rest } = values;
  if (!Array.isArray(words) || words.length === 0) return rest;
  const name = Object.entries(command.positionals ?? {}).find(
    ([, { array }]) => array === true,
  )?.[0];
  if (name === undefined) throw usageError(`Unknown arguments: ${words.join(" ")}`, command);
  const before = rest[name];
  return {
    ...rest,
    [name]: [...(Array.isArray(before) ? (before as unknown[]) : []), ...(words as unknown[])],
  };
}

/** yargs makes NaN of what is no number. */
function checkNumbers(options: Readonly<Record<string, Options>>, values: Record<string, unknown>) {
  for (const [name, { type }] of Object.entries(options)) {
    if (type === "number" && [values[name]].flat().some((value) => Number.isNaN(value)))
      throw new UsageError(`Cannot read --${name}: it takes a number`);
  }
}

const commonExitCodes: Readonly<Record<number, string>> = {
  0: "done",
  1: "failed",
  2: "wrong arguments",
  10: "no repository there",
  12: "wrong password or key",
  13: "newer format than this version knows",
  20: "damage found in the repository",
  30: "storage failed",
  130: "interrupted",
};

function exitCodeText(command: Command): string {
  const codes = Object.entries({ ...commonExitCodes, ...command.exitCodes });
  return `Exit codes: ${codes.map(([code, meaning]) => `${code} ${meaning}`).join(", ")}. All are in docs/errors.md.`;
}
