/**
 * From arguments to an exit code: finds the command, parses, runs it, prints what it threw.
 * Only the named command's file is loaded, and the library only when it opens a repository.
 */
import yargs, { type Argv } from "yargs";
import { AbortedError, StoreError, UsageError } from "../errors.ts";
import { type Command, CommandArguments, type CommandContext } from "./command.ts";
import { commandNames, loadCommand } from "./commands/index.ts";
import type { Host } from "./host.ts";
import { globalOptions, outputOptions } from "./options.ts";
import { openRepositoryFor } from "./open-repository.ts";
import { exitCodeOf, Output } from "./output.ts";
import { toolVersion } from "./tool-version.ts";

interface Invocation {
  readonly command: Command;
  readonly args: CommandArguments;
}

export async function runCommandLine(host: Host): Promise<number> {
  const plain = new Output(host, {
    json: host.argv.includes("--json"),
    quiet: host.argv.includes("--quiet") || host.argv.includes("-q"),
    verbose: false,
    debug: host.argv.includes("--debug"),
  });
  try {
    const parsed = await parse(host);
    if (typeof parsed === "number") return parsed;
    return await runInvocation(host, parsed);
  } catch (error) {
    plain.error(error);
    return exitCodeOf(error);
  }
}

async function runInvocation(host: Host, { command, args }: Invocation): Promise<number> {
  const output = new Output(host, outputOptions(args));
  const controller = new AbortController();
  let interrupts = 0;
  const stopListening = host.onInterrupt((signal) => {
    if (++interrupts > 1) process.exit(130);
    output.talk("Interrupted: finishing what is in flight (once more to stop at once)");
    controller.abort(new AbortedError("Interrupted", signal === "SIGINT" ? 130 : 143));
  });
  const closers: (() => Promise<void>)[] = [];
  const context: CommandContext = {
    host,
    output,
    signal: controller.signal,
    openRepository: async () => {
      const repository = await openRepositoryFor(host, args, output);
      closers.push(() => repository.close());
      return repository;
    },
  };
  try {
    const code = (await command.run?.(context, args)) ?? 0;
    output.progress.clear();
    return code;
  } catch (error) {
    const cause =
      controller.signal.aborted && !(error instanceof StoreError)
        ? controller.signal.reason
        : error;
    output.error(cause);
    return exitCodeOf(cause);
  } finally {
    stopListening();
    for (const close of closers) await close();
  }
}

/** @returns an exit code where parsing itself answered: help, version, completion */
async function parse(host: Host): Promise<Invocation | number> {
  const word = host.argv.find((argument) => !argument.startsWith("-"));
  const known = word !== undefined && commandNames.includes(word);
  const isCompletion = host.argv.includes("--get-yargs-completions");
  const loaded = await Promise.all(
    (known && !isCompletion ? [word] : commandNames).map(loadCommand),
  );

  let chosen: Invocation | undefined;
  const choose = (command: Command, values: Record<string, unknown>): void => {
    chosen = { command, args: new CommandArguments(values) };
  };
  let parser: Argv<unknown> = yargs()
    .scriptName("ashlar")
    .usage(
      "$0 <command>\n\nNightly backups of whole virtual-machine images, and of files, into encrypted repositories that anyone may host.",
    )
    .parserConfiguration({
      "boolean-negation": true,
      // Else of two paths, or two `--exclude`, only the last would count.
      "duplicate-arguments-array": true,
      "populate--": true,
      "camel-case-expansion": false,
      "parse-numbers": true,
      "parse-positional-numbers": false,
      "dot-notation": false,
    })
    .options(globalOptions)
    .version(toolVersion)
    .help()
    .alias("help", "h")
    .strict()
    .exitProcess(false)
    .wrap(Math.min(110, host.stderr.columns ?? 100))
    .demandCommand(1, "")
    .fail((message: string, error: Error | undefined) => {
      throw (
        error ??
        new UsageError(message === "" ? "No command was given" : message, {
          hint: helpHint(word, known),
        })
      );
    });
  for (const command of loaded) parser = addCommand(parser, command, choose);

  let printed = "";
  await parser.parseAsync(
    [...host.argv],
    {},
    (_error: Error | undefined | null, _args: unknown, text: string) => {
      printed = text;
    },
  );
  if (chosen !== undefined && printed === "") return chosen;
  if (printed !== "") host.stdout.write(`${printed}\n`);
  return 0;
}

function helpHint(word: string | undefined, known: boolean): string {
  return known && word !== undefined ? `See: ashlar ${word} --help` : "See: ashlar --help";
}

function addCommand(
  parser: Argv<unknown>,
  command: Command,
  choose: (command: Command, values: Record<string, unknown>) => void,
): Argv<unknown> {
  return parser.command(
    command.usage,
    command.summary,
    (inner: Argv<unknown>) => {
      for (const [name, options] of Object.entries(command.positionals ?? {}))
        inner.positional(name, options);
      inner.options(command.options ?? {});
      for (const [line, does] of command.examples) inner.example(`$0 ${line}`, does);
      for (const sub of command.subcommands ?? []) addCommand(inner, sub, choose);
      if (command.subcommands !== undefined) inner.demandCommand(1, "");
      return inner.epilogue(exitCodeText(command));
    },
    (values) => {
      if (command.run !== undefined) choose(command, withWordsAfterDashes(command, values));
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
  if (name === undefined) {
    throw new UsageError(`Unknown arguments: ${words.join(" ")}`, {
      hint: `See: ashlar ${command.usage.split(" ")[0]!} --help`,
    });
  }
  const before = values[name];
  return {
    ...rest,
    [name]: [...(Array.isArray(before) ? (before as unknown[]) : []), ...(words as unknown[])],
  };
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
