/**
 * What stands between a backend and its users, from the inside: counting, limits, a bound on requests
 * at once, and, where a network lies between, patience.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { StorageEnvironment } from "./backend.ts";
import { BoundedStorage } from "./bounded.ts";
import { CountedStorage, type RequestRecord, type Traffic } from "./counted.ts";
import { LimitedStorage } from "./limited.ts";
import { retry, RetryingStorage, type RetryOptions } from "./retrying.ts";
import type { Storage } from "./storage.ts";

export interface OpenOptions extends StorageEnvironment {
  /** Milliseconds that only go forward. */
  readonly elapsed: () => number;
  /** Is added to. */
  readonly traffic?: Traffic | undefined;
  readonly onRequest?: ((record: RequestRecord) => void) | undefined;
  /** How long a call that fails for the moment is tried again; a quarter of an hour unless given. */
  readonly patienceMs?: number | undefined;
  /** Ends the waiting for a server that does not answer yet. */
  readonly signal?: AbortSignal | undefined;
}

const patienceMsUsual = 15 * 60_000;
/** Who named a server that never answers should hear of it soon. */
const openPatienceMsMost = 60_000;
const delayMsFirst = 500;
const delayMsMax = 30_000;
/** More than any part of a run asks for at once; each has its buffer. */
const requestsMost = 32;
/** With many requests in flight, all wait at once: it is said once. */
const sayEveryMs = 15_000;

/** The storage as the rest of the program is to see it. */
export function layered(storage: Storage, options: OpenOptions): Storage {
  const { traffic, elapsed, onRequest, pace } = options;
  let outer = storage;
  if (traffic !== undefined) outer = new CountedStorage(outer, { traffic, elapsed, onRequest });
  if (pace !== undefined && storage.traits.paced !== true) outer = new LimitedStorage(outer, pace);
  if (storage.traits.local) return outer;
  outer = new BoundedStorage(outer, requestsMost);
  return new RetryingStorage(outer, retryOptions(options, options.patienceMs ?? patienceMsUsual));
}

/** Opens what may not answer at once. */
export function patiently(options: OpenOptions, open: () => Promise<Storage>): Promise<Storage> {
  const patienceMs = Math.min(options.patienceMs ?? patienceMsUsual, openPatienceMsMost);
  return retry(retryOptions(options, patienceMs), options.signal, open);
}

function retryOptions(options: OpenOptions, patienceMs: number): RetryOptions {
  let saidAt = -Infinity;
  return {
    delayMsFirst,
    delayMsMax,
    patienceMs,
    clock: { now: options.elapsed },
    random: options.random,
    sleep: (ms, signal) => sleep(ms, undefined, signal === undefined ? {} : { signal }),
    onRetry: (error, delayMs) => {
      const now = options.elapsed();
      if (now - saidAt < sayEveryMs) return;
      saidAt = now;
      options.warn(`Trying again in ${Math.ceil(delayMs / 1000)} s: ${error.message}`);
    },
  };
}
