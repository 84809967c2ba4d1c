/** What a repository needs of the world around it, passed in so that tests can pass another. */
import type { Argon2Cost, Random } from "../../crypto/index.ts";
import type { ProcessIdentity } from "../../posix/index.ts";
import type { TrafficCounts } from "../../storage/index.ts";

export interface Clock {
  /** Milliseconds since the epoch. */
  now(): number;
  /** Milliseconds that only go forward; they may stand still while the machine sleeps. */
  elapsed(): number;
  /**
   * Calls `act` every so often until the answer is called. Left out, the process's own timers do; a
   * virtual clock brings its own.
   */
  every?(intervalMs: number, act: () => void): () => void;
}

export interface Environment {
  readonly clock: Clock;
  readonly random: Random;
  readonly hostname: string;
  readonly user: { readonly name: string; readonly uid: number; readonly gid: number };
  /** Lets a collector on this machine see that a session's process is gone; undefined where /proc is missing. */
  readonly process: ProcessIdentity | undefined;
  /** Worker threads that cut, compress and seal. */
  readonly lanes: number;
  /** Safe to delete at any time. Undefined: a temporary folder for each run. */
  readonly cacheDir: string | undefined;
  /** What a new password's derivation may cost; undefined: about half a second on this machine. */
  readonly passwordCost?: Argon2Cost | undefined;
  /** What the repository's storage was opened with, for summaries. */
  readonly traffic?: TrafficCounts | undefined;
  /** Name and version of the program, written into snapshots. */
  readonly tool: string;
  /** Something the user must know of. */
  warn(text: string): void;
  /** Something for who wants to know more. */
  note(text: string): void;
}

/** How often progress is told while nothing is read. */
export const progressIntervalMs = 1000;

/** By the clock's own timers, if it has any. @returns ends it */
export function repeat(clock: Clock, intervalMs: number, act: () => void): () => void {
  if (clock.every !== undefined) return clock.every(intervalMs, act);
  const timer = setInterval(act, intervalMs);
  timer.unref(); // It keeps no process alive.
  return () => {
    clearInterval(timer);
  };
}
