/**
 * From arguments to an exit code: finds the command, parses, runs it, prints what it threw.
 * Only the named command's file is loaded, and the library only when it opens a repository.
 */
import { printableName } from "../names.ts";
import { AbortedError, FailedError, StoreError } from "../errors.ts";
import type { CommandContext } from "./command.ts";
import type { Host } from "./host.ts";
import { RepositoryOpener } from "./open-repository.ts";
import { outputOptions } from "./options.ts";
import { exitCodeOf, Output } from "./output.ts";
import { type Invocation, parseCommandLine } from "./parse.ts";

export async function runCommandLine(host: Host): Promise<number> {
  try {
    const invocation = await parseCommandLine(host);
    return invocation === undefined ? 0 : await runInvocation(host, invocation);
  } catch (error) {
    unparsedOutput(host).error(error);
    return exitCodeOf(error);
  }
}

/** For what is wrong with the arguments themselves. */
function unparsedOutput(host: Host): Output {
  const end = host.argv.indexOf("--");
  const own = end === -1 ? host.argv : host.argv.slice(0, end);
  return new Output(host, {
    json: own.includes("--json"),
    quiet: false,
    verbose: false,
    debug: own.includes("--debug"),
  });
}

async function runInvocation(host: Host, { command, args }: Invocation): Promise<number> {
  const output = new Output(host, outputOptions(args));
  const controller = new AbortController();
  let interrupts = 0;
  const stopListening = host.onInterrupt((signal) => {
    const exitCode = signal === "SIGINT" ? 130 : 143;
    if (++interrupts > 1) process.exit(exitCode);
    output.talk("Interrupted: finishing what is in flight (once more to stop at once)");
    controller.abort(new AbortedError("Interrupted", exitCode));
  });
  const opener = new RepositoryOpener(host, args, output, controller.signal);
  const context: CommandContext = {
    host,
    output,
    signal: controller.signal,
    repositories: opener,
    openRepository: async (choice, plans) => {
      const repository = await opener.open(choice, plans);
      if (repository.role !== "full" && command.takesBackupKey !== true)
        throw needsFullKey(repository.storage.location, choice?.variables === "ASHLAR_FROM_");
      return repository;
    },
  };
  try {
    const code = (await command.run?.(context, args)) ?? 0;
    output.progress.clear();
    return code;
  } catch (error) {
    const cause: unknown =
      controller.signal.aborted && !(error instanceof StoreError)
        ? controller.signal.reason
        : error;
    output.error(cause);
    return exitCodeOf(cause);
  } finally {
    stopListening();
    await opener.close();
  }
}

function needsFullKey(location: string, isCopiedFrom: boolean): FailedError {
  const what = `Cannot do this with a backup key of ${printableName(location)}`;
  return new FailedError(`${what}: it can only add backups`, {
    hint: `Use a full key: another password or --${isCopiedFrom ? "from-" : ""}key-file`,
  });
}
