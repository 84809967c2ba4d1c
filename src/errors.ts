/**
 * Every failure a user can meet, with its stable code and exit code (docs/errors.md).
 *
 * A message says action, object, state ("Cannot open pack 3f9a: footer does not authenticate"); the
 * hint says what to do next. Wrap with `cause`, do not re-word.
 */
export abstract class StoreError extends Error {
  abstract readonly code: string;
  abstract readonly exitCode: number;
  /** The next step, one sentence. */
  readonly hint: string | undefined;

  constructor(message: string, options: ErrorOptions & { readonly hint?: string } = {}) {
    super(message, options);
    this.name = new.target.name;
    this.hint = options.hint;
  }
}

/** Anything that has no class of its own: a command's output that failed, a key that is not allowed to. */
export class FailedError extends StoreError {
  readonly code = "failed";
  readonly exitCode = 1;
}

/** Flags and arguments that make no sense. */
export class UsageError extends StoreError {
  readonly code = "usage";
  readonly exitCode = 2;
}

/** The run finished, but some input was left out. */
export class IncompleteError extends StoreError {
  readonly code = "incomplete";
  readonly exitCode = 3;
}

export class RepositoryNotFoundError extends StoreError {
  readonly code = "repository_not_found";
  readonly exitCode = 10;
}

/** Only from a second prune or repair, and from `--grace 0` while a session lives. */
export class RepositoryBusyError extends StoreError {
  readonly code = "repository_busy";
  readonly exitCode = 11;
}

export class WrongPasswordError extends StoreError {
  readonly code = "wrong_password";
  readonly exitCode = 12;
}

/** A newer format, or a required feature this version does not know. */
export class UnsupportedFormatError extends StoreError {
  readonly code = "unsupported_format";
  readonly exitCode = 13;
}

export class RepositoryExistsError extends StoreError {
  readonly code = "repository_exists";
  readonly exitCode = 14;
}

/** Stored bytes that are not what was written: MAC, hash, length or header wrong; an object missing. */
export class CorruptionError extends StoreError {
  readonly code = "corruption";
  readonly exitCode = 20;
}

/** Storage that failed: I/O, permission, space. `temporary` is all that a retry looks at. */
export class BackendError extends StoreError {
  readonly code = "backend";
  readonly exitCode = 30;
  readonly temporary: boolean;
  /** The system's name for it (ENOSPC, EACCES), where there is one. */
  readonly errno: string | undefined;
  /** How long the server asks us to wait. */
  readonly retryAfterMs: number | undefined;

  constructor(
    message: string,
    options: ErrorOptions & {
      readonly hint?: string;
      readonly temporary?: boolean;
      readonly errno?: string;
      readonly retryAfterMs?: number;
    } = {},
  ) {
    super(message, options);
    this.temporary = options.temporary ?? false;
    this.errno = options.errno;
    this.retryAfterMs = options.retryAfterMs;
  }
}

/** Our own mistake. Never caught but at the top, which prints the stack and asks for a report. */
export class BugError extends StoreError {
  readonly code = "bug";
  readonly exitCode = 70;
}

/** The user or the system asked us to stop: 130 for SIGINT, 143 for SIGTERM. */
export class AbortedError extends StoreError {
  readonly code = "aborted";
  readonly exitCode: number;

  constructor(message = "Interrupted", exitCode = 130) {
    super(message);
    this.exitCode = exitCode;
  }
}

/** Checks what our own code promised; bytes from outside get a CorruptionError instead. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new BugError(message);
}
