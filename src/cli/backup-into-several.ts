/**
 * `backup -r A -r B`: one that cannot be opened, or fails later, does not stop the others. The run then
 * ends with 3; only where all fail it ends as the first of them would alone.
 */
import type {
  BackupHooks,
  BackupOptions,
  BackupOutcome,
  BackupProgress,
  Repository,
} from "../repo/index.ts";
import { AbortedError, BugError, StoreError, UsageError } from "../errors.ts";
import { printableName } from "../names.ts";
import { backupDocument, printBackup } from "./backup-report.ts";
import type { CommandContext } from "./command.ts";
import type { OpenDisks } from "./disk-sources.ts";
import type { RepositoryChoice } from "./open-repository.ts";
import type { Output } from "./output.ts";
import { exitCodeOf } from "./output.ts";

interface Named<T> {
  /** As given with -r, without a secret. */
  readonly name: string;
  readonly outcome: T;
}

export async function backupIntoSeveral(
  { output, signal, openRepository }: CommandContext,
  choices: readonly RepositoryChoice[],
  options: BackupOptions,
  openDisks: OpenDisks | undefined,
): Promise<number> {
  const { backupTogether, locationText } = await import("../repo/index.ts");
  const opened: { readonly repository: Repository; readonly at: number }[] = [];
  const results: Named<BackupOutcome>[] = [];
  for (const [at, choice] of choices.entries()) {
    try {
      const repository = await openRepository(choice);
      opened.push({ repository, at });
      results[at] = { name: repository.storage.location, outcome: { error: undefined } };
    } catch (error) {
      results[at] = { name: locationText(choice.location), outcome: { error } };
      if (!isOneRepositorys(error)) throw error;
      tellFailure(output, results[at]);
    }
  }
  const repositories = opened.map(({ repository }) => repository);
  if (repositories.length === 0) throw failureOf(results[0]!.outcome);
  if (!cutAlike(repositories)) {
    output.line(
      "The repositories cut differently: each is served all the same, but copies between them share nothing with these backups.",
    );
  }
  const hooks = new SeveralHooks(output, signal, repositories.length);
  const outcomes = await backupTogether(
    repositories,
    { ...options, openDisks: openDisks && (() => openDisks(repositories, signal)) },
    (index) => hooks.of(index),
  );
  for (const [index, outcome] of outcomes.entries()) {
    const result = { ...results[opened[index]!.at]!, outcome };
    results[opened[index]!.at] = result;
    if ("error" in outcome) {
      if (!isOneRepositorys(outcome.error)) throw outcome.error;
      tellFailure(output, result);
    }
  }
  report(output, results);
  if (results.every(({ outcome }) => "error" in outcome)) throw failureOf(results[0]!.outcome);
  const isWhole = results.every(
    ({ outcome }) => "summary" in outcome && !outcome.summary.isIncomplete,
  );
  return isWhole ? 0 : 3;
}

/** Wrong arguments, an interruption and our own mistakes end the run whatever the others do. */
function isOneRepositorys(error: unknown): boolean {
  return (
    error instanceof StoreError &&
    !(error instanceof UsageError || error instanceof AbortedError || error instanceof BugError)
  );
}

function failureOf(outcome: BackupOutcome): unknown {
  return "error" in outcome ? outcome.error : undefined;
}

function tellFailure(output: Output, { name, outcome }: Named<BackupOutcome>): void {
  const error = failureOf(outcome);
  const words = error instanceof Error ? error.message : String(error);
  const hint = error instanceof StoreError && error.hint !== undefined ? ` (${error.hint})` : "";
  output.warn(printableName(`No snapshot in ${name}: ${words}${hint}`));
}

function report(output: Output, results: readonly Named<BackupOutcome>[]): void {
  output.summary({
    repositories: results.map(({ name, outcome }) => {
      if ("summary" in outcome) return { repository: name, ...backupDocument(outcome.summary) };
      const { error } = outcome;
      return {
        repository: name,
        code: exitCodeOf(error),
        error: error instanceof StoreError ? error.code : "bug",
        message: error instanceof Error ? error.message : String(error),
      };
    }),
  });
  for (const { name, outcome } of results) {
    output.line(printableName(`${name}:`));
    if ("summary" in outcome) printBackup(output, outcome.summary);
    else output.line("failed, see above");
  }
}

/** Whether all cut with the same key and measures. */
function cutAlike([first, ...others]: readonly Repository[]): boolean {
  const cuts = ({ keys, settings }: Repository): string =>
    `${Buffer.from(keys.cutKey).toString("hex")} ${JSON.stringify(settings.chunker)}`;
  return first === undefined || others.every((other) => cuts(other) === cuts(first));
}

/** The runs see the same source: what they say of it is said once, and progress is that of the slowest. */
class SeveralHooks {
  readonly #output: Output;
  readonly #signal: AbortSignal;
  readonly #said = new Set<string>();
  readonly #progress: (BackupProgress | undefined)[];

  constructor(output: Output, signal: AbortSignal, count: number) {
    this.#output = output;
    this.#signal = signal;
    this.#progress = Array.from({ length: count }, () => undefined);
  }

  of(index: number): BackupHooks {
    return {
      signal: this.#signal,
      onProgress: (progress) => {
        this.#progress[index] = progress;
        this.#show();
      },
      onWarning: (message) => {
        if (this.#said.has(message)) return;
        this.#said.add(message);
        this.#output.warn(message);
      },
      onFile: (path, state) => {
        if (index === 0) this.#output.detail(`${state} ${printableName(path)}`);
      },
    };
  }

  #show(): void {
    const known = this.#progress.filter((progress) => progress !== undefined);
    const slowest = known.reduce((a, b) => (b.bytesDone < a.bytesDone ? b : a));
    const sum = (pick: (progress: BackupProgress) => number | undefined): number =>
      known.reduce((total, progress) => total + (pick(progress) ?? 0), 0);
    this.#output.progress.update({
      ...slowest,
      current: slowest.current === undefined ? undefined : printableName(slowest.current),
      bytesSent: sum(({ bytesSent }) => bytesSent),
      bytesReceived: sum(({ bytesReceived }) => bytesReceived),
    });
  }
}
