/** Token buckets for both directions, shared by all requests of a run; rates may change at any time. */
import type { Pace } from "./backend.ts";

export interface PaceOptions {
  /** Bytes a second at this moment; undefined: no limit. */
  readonly uploadRate: () => number | undefined;
  readonly downloadRate: () => number | undefined;
  /** Milliseconds that only go forward. */
  readonly elapsed: () => number;
  readonly sleep: (ms: number) => Promise<void>;
}

export function createPace({ uploadRate, downloadRate, elapsed, sleep }: PaceOptions): Pace {
  const upload = new TokenBucket(uploadRate, elapsed, sleep);
  const download = new TokenBucket(downloadRate, elapsed, sleep);
  return {
    send: (bytes, signal) => upload.take(bytes, signal),
    receive: (bytes, signal) => download.take(bytes, signal),
  };
}

/** What may be saved up for a burst: so much of a second's bytes. */
const burstSeconds = 0.25;
/** While it waits it looks so often whether the rate has changed. */
const waitMsMost = 250;

class TokenBucket {
  readonly #rate: () => number | undefined;
  readonly #elapsed: () => number;
  readonly #sleep: (ms: number) => Promise<void>;
  /** Bytes; below 0 while more was taken than has come in. */
  #balance = 0;
  #filledAt: number;
  #turn: Promise<void> = Promise.resolve();

  constructor(
    rate: () => number | undefined,
    elapsed: () => number,
    sleep: (ms: number) => Promise<void>,
  ) {
    this.#rate = rate;
    this.#elapsed = elapsed;
    this.#sleep = sleep;
    this.#filledAt = elapsed();
  }

  /** First come, first served: one large request cannot starve others, nor they it. */
  take(bytes: number, signal?: AbortSignal): Promise<void> {
    const turn = this.#turn.then(() => this.#takeNow(bytes, signal));
    this.#turn = turn.catch(() => undefined);
    return turn;
  }

  async #takeNow(bytes: number, signal: AbortSignal | undefined): Promise<void> {
    for (;;) {
      signal?.throwIfAborted();
      const rate = this.#fill();
      if (rate === undefined) return;
      if (this.#balance >= 0) break;
      await this.#sleep(Math.min(waitMsMost, Math.ceil((-this.#balance / rate) * 1000)));
    }
    this.#balance -= bytes;
  }

  #fill(): number | undefined {
    const now = this.#elapsed();
    const seconds = (now - this.#filledAt) / 1000;
    this.#filledAt = now;
    const rate = this.#rate();
    if (rate === undefined) this.#balance = 0;
    else this.#balance = Math.min(rate * burstSeconds, this.#balance + seconds * rate);
    return rate;
  }
}
