/** What could not be read or brought back as it was. The run goes on, and ends with exit code 3. */
import { FailedError, StoreError } from "../errors.ts";
import { printableName } from "../names.ts";
import { errnoCode } from "../posix/index.ts";

export type ProblemKind =
  /** A path that was named does not exist. */
  | "missing"
  /** An entry went away between the listing and the look at it. */
  | "vanished"
  | "unreadable"
  /** Another file stands in its place. */
  | "replaced"
  /** The content changed while it was read. */
  | "grew"
  | "shrank"
  | "changed"
  /** Entry kept, but not all that belongs to it: attributes, owners, times. */
  | "metadata"
  /** An entry that could not be brought back. */
  | "not-restored";

export interface FileProblem {
  readonly kind: ProblemKind;
  /** Of the first entry it befell; see src/names.ts. */
  readonly path: string;
  /** Ready for people, path included. */
  readonly message: string;
  /** How many entries it befell. */
  readonly count: number;
}

export function problem(
  kind: ProblemKind,
  path: string,
  action: string,
  cause: unknown,
): FileProblem {
  return {
    kind,
    path,
    message: `Cannot ${action} ${printableName(path)}: ${reasonOf(cause)}`,
    count: 1,
  };
}

/** Whether an error is the system's answer for one entry, so that the rest can go on; else it is a mistake of ours. */
export function isRefusal(error: unknown): boolean {
  return (
    error instanceof FailedError ||
    (errnoCode(error) !== undefined && !(error instanceof StoreError))
  );
}

/** The system's words for an error, without the path it was tried on, which may lead through /proc. */
export function reasonOf(cause: unknown): string {
  if (typeof cause === "string") return cause;
  if (!(cause instanceof Error)) return String(cause);
  const code = errnoCode(cause);
  const words = code === undefined ? undefined : /^[A-Z0-9]+: ([^,]+),/.exec(cause.message)?.[1];
  return words === undefined ? cause.message : `${words} (${code})`;
}

/** Counts problems that are alike, so that a million files make one line. */
export class ProblemTally {
  readonly #alike = new Map<string, FileProblem>();

  /** @param text what went wrong, the same for all that are alike */
  add(kind: ProblemKind, path: string, text: string): void {
    const known = this.#alike.get(text);
    const { path: first, count } = known ?? { path, count: 0 };
    const entries = count === 0 ? "1 entry" : `${count + 1} entries`;
    const message = `${text} (${entries}, the first ${printableName(first)})`;
    this.#alike.set(text, { kind, path: first, message, count: count + 1 });
  }

  all(): FileProblem[] {
    return [...this.#alike.values()];
  }
}
