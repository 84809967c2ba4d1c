/** How many requests and bytes a second each user may have. */
import type { User } from "./users.ts";

/** So much of a second's share may be used at once, after a rest. */
const burstSeconds = 5;

/** Filled at a steady rate; may be overdrawn, and then has to be filled up before anything more is given. */
class Bucket {
  readonly #rate: number;
  #level: number;
  #at: number;

  constructor(rate: number, now: number) {
    this.#rate = rate;
    this.#level = rate * burstSeconds;
    this.#at = now;
  }

  /** Until something may be taken again. */
  waitMs(now: number): number {
    const full = this.#rate * burstSeconds;
    this.#level = Math.min(full, this.#level + (Math.max(0, now - this.#at) / 1000) * this.#rate);
    this.#at = now;
    return this.#level >= 0 ? 0 : Math.ceil((-this.#level / this.#rate) * 1000);
  }

  take(amount: number): void {
    this.#level -= amount;
  }
}

export class Shares {
  readonly #elapsed: () => number;
  readonly #buckets = new Map<string, { requests?: Bucket; bytes?: Bucket }>();

  constructor(elapsed: () => number) {
    this.#elapsed = elapsed;
  }

  /** Milliseconds until the user's next request may begin; counts it when that is 0. */
  beginRequest(user: User): number {
    const { requests, bytes } = this.#of(user);
    const now = this.#elapsed();
    const wait = Math.max(requests?.waitMs(now) ?? 0, bytes?.waitMs(now) ?? 0);
    if (wait === 0) requests?.take(1);
    return wait;
  }

  /** Sizes are known only when all was sent: who has overdrawn waits longer before his next request. */
  countBytes(user: User, bytes: number): void {
    this.#of(user).bytes?.take(bytes);
  }

  /** After the users were read anew. */
  forget(): void {
    this.#buckets.clear();
  }

  #of(user: User): { requests?: Bucket; bytes?: Bucket } {
    let found = this.#buckets.get(user.name);
    if (found === undefined) {
      const now = this.#elapsed();
      found = {
        ...(user.requestsPerSecond ? { requests: new Bucket(user.requestsPerSecond, now) } : {}),
        ...(user.bytesPerSecond ? { bytes: new Bucket(user.bytesPerSecond, now) } : {}),
      };
      this.#buckets.set(user.name, found);
    }
    return found;
  }
}
