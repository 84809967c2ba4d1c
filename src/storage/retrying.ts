/** Tries again what failed for the moment: for storage that lies behind a network. */
import { BackendError } from "../errors.ts";
import type {
  ByteRange,
  ObjectInfo,
  ObjectKind,
  Storage,
  StorageCall,
  StorageTraits,
} from "./storage.ts";

export interface RetryOptions {
  /** Doubled with each failure in a row, up to `delayMsMax`; the half of it is left to chance. */
  readonly delayMsFirst: number;
  readonly delayMsMax: number;
  /** A call that has not succeeded this long after its first failure fails for good. */
  readonly patienceMs: number;
  readonly clock: { now(): number };
  /** From 0 to below 1. */
  readonly random: () => number;
  /** Rejects when `signal` aborts. */
  readonly sleep: (ms: number, signal: AbortSignal | undefined) => Promise<void>;
  readonly onRetry?: (error: BackendError, delayMs: number) => void;
  /** True: nothing is tried again any more. */
  readonly isOver?: () => boolean;
}

/**
 * Retries only a BackendError that says `temporary`.
 *
 * An answer may have been lost: after a retry, `exists` (or a delete's false) may be this call's own doing.
 */
export class RetryingStorage implements Storage {
  readonly location: string;
  readonly #inner: Storage;
  readonly #options: RetryOptions;
  #isClosed = false;

  constructor(inner: Storage, options: RetryOptions) {
    this.location = inner.location;
    this.#inner = inner;
    // What is cut off by closing has no one who waits for it.
    this.#options = { ...options, isOver: () => this.#isClosed };
  }

  get traits(): StorageTraits {
    return this.#inner.traits;
  }

  put(
    kind: ObjectKind,
    name: string,
    parts: readonly Uint8Array[],
    call?: StorageCall,
  ): Promise<"created" | "exists"> {
    return this.#retry(call, () => this.#inner.put(kind, name, parts, call));
  }

  get(
    kind: ObjectKind,
    name: string,
    range?: ByteRange,
    call?: StorageCall & { readonly into?: Uint8Array },
  ): Promise<Uint8Array | undefined> {
    return this.#retry(call, () => this.#inner.get(kind, name, range, call));
  }

  /** Begins anew after a failure, and passes over what it has given: each name comes once. */
  async *list(
    kind: ObjectKind,
    call?: StorageCall & { readonly prefix?: string },
  ): AsyncGenerator<ObjectInfo> {
    const given = new Set<string>();
    const patience = new Patience(this.#options, call?.signal);
    for (let isWhole = false; !isWhole;) {
      const listing = this.#inner.list(kind, call)[Symbol.asyncIterator]();
      try {
        for (;;) {
          const next = await attempt(() => listing.next());
          if ("error" in next) {
            await patience.afterFailure(next.error);
            break;
          }
          if (next.value.done === true) {
            isWhole = true;
            break;
          }
          if (given.has(next.value.value.name)) continue;
          given.add(next.value.value.name);
          patience.afterSuccess();
          yield next.value.value;
        }
      } finally {
        await listing.return?.();
      }
    }
  }

  stat(kind: ObjectKind, name: string, call?: StorageCall): Promise<ObjectInfo | undefined> {
    return this.#retry(call, () => this.#inner.stat(kind, name, call));
  }

  delete(kind: ObjectKind, name: string, call?: StorageCall): Promise<boolean> {
    return this.#retry(call, () => this.#inner.delete(kind, name, call));
  }

  close(): Promise<void> {
    this.#isClosed = true;
    return this.#inner.close();
  }

  removeStaleTemporaries(before: number): Promise<number> {
    return this.#retry(
      undefined,
      async () => (await this.#inner.removeStaleTemporaries?.(before)) ?? 0,
    );
  }

  protect(kind: ObjectKind, name: string, call?: StorageCall): Promise<boolean> {
    return this.#retry(call, async () => (await this.#inner.protect?.(kind, name, call)) ?? false);
  }

  #retry<T>(call: StorageCall | undefined, act: () => Promise<T>): Promise<T> {
    return retry(this.#options, call?.signal, act);
  }
}

/** Calls `act` until it succeeds, fails for good, or patience ends. */
export async function retry<T>(
  options: RetryOptions,
  signal: AbortSignal | undefined,
  act: () => Promise<T>,
): Promise<T> {
  const patience = new Patience(options, signal);
  for (;;) {
    const result = await attempt(act);
    if ("value" in result) return result.value;
    await patience.afterFailure(result.error);
  }
}

/** One call's count of failures in a row. */
class Patience {
  readonly #options: RetryOptions;
  readonly #signal: AbortSignal | undefined;
  #failures = 0;
  #end = 0;

  constructor(options: RetryOptions, signal: AbortSignal | undefined) {
    this.#options = options;
    this.#signal = signal;
  }

  afterSuccess(): void {
    this.#failures = 0;
  }

  /** Waits before the next try. @throws `error` when there is none */
  async afterFailure(error: unknown): Promise<void> {
    const { delayMsFirst, delayMsMax, patienceMs, clock, random, sleep, onRetry, isOver } =
      this.#options;
    if (!(error instanceof BackendError) || !error.temporary || isOver?.() === true) throw error;
    const now = clock.now();
    if (this.#failures === 0) this.#end = now + patienceMs;
    const longest = Math.min(delayMsMax, delayMsFirst * 2 ** this.#failures++);
    const delayMs = longest / 2 + (random() * longest) / 2 + (error.retryAfterMs ?? 0);
    if (now + delayMs > this.#end) throw givenUp(error, this.#failures, patienceMs);
    onRetry?.(error, delayMs);
    await sleep(delayMs, this.#signal);
    this.#signal?.throwIfAborted();
  }
}

/** With what to do next, unless the error knows better. */
function givenUp(error: BackendError, tries: number, patienceMs: number): BackendError {
  if (error.hint !== undefined || tries < 2) return error;
  const { cause, errno, retryAfterMs } = error;
  return new BackendError(error.message, {
    cause,
    temporary: true,
    ...(errno === undefined ? {} : { errno }),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    hint: `${tries} tries within ${Math.round(patienceMs / 1000)} s did not help: see whether the server is well, and run this again (--retry-for DURATION tries for longer)`,
  });
}

async function attempt<T>(act: () => Promise<T>): Promise<{ value: T } | { error: unknown }> {
  try {
    return { value: await act() };
  } catch (error) {
    return { error };
  }
}
