/** One time that passes for all, and each host's own idea of it: skewed, set forward or back, stopped by sleep. */
import type { Clock } from "../../src/repo/ops/index.ts";

interface Timer {
  readonly host: Host;
  readonly intervalMs: number;
  readonly act: () => void;
  atMs: number;
}

export class VirtualTime {
  nowMs: number;
  #timers: Timer[] = [];

  constructor(nowMs: number) {
    this.nowMs = nowMs;
  }

  /** Fires timers on the way, but those of hosts that sleep: theirs fire once when they wake. */
  advanceTo(ms: number): void {
    for (;;) {
      const next = this.#next();
      if (next === undefined || next.atMs > ms) break;
      this.nowMs = Math.max(this.nowMs, next.atMs);
      next.atMs = this.nowMs + next.intervalMs;
      next.act();
    }
    this.nowMs = Math.max(this.nowMs, ms);
  }

  /** When the next timer of a host that is awake is due. */
  get nextTimerMs(): number | undefined {
    return this.#next()?.atMs;
  }

  add(host: Host, intervalMs: number, act: () => void): () => void {
    const timer = { host, intervalMs, act, atMs: this.nowMs + intervalMs };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  #next(): Timer | undefined {
    const awake = this.#timers.filter(({ host }) => host.wakesAtMs === undefined);
    return awake.reduce<Timer | undefined>(
      (first, timer) => (first === undefined || timer.atMs < first.atMs ? timer : first),
      undefined,
    );
  }
}

/** Where one run of the program is at work. */
export class Host {
  readonly clock: Clock;
  /** Undefined while it is awake. */
  wakesAtMs: number | undefined;
  #skewMs: number;
  #sleptMs = 0;
  #asleepSinceMs = 0;
  #isPaused = false;
  readonly #time: VirtualTime;

  constructor(time: VirtualTime, skewMs: number) {
    this.#time = time;
    this.#skewMs = skewMs;
    this.clock = {
      now: () => time.nowMs + this.#skewMs,
      // It stands still while the machine sleeps.
      elapsed: () => time.nowMs - this.#sleptMs,
      every: (intervalMs, act) => time.add(this, intervalMs, act),
    };
  }

  /** An administrator, or a time server, sets the clock. */
  jump(ms: number): void {
    this.#skewMs += ms;
  }

  /** @param isPaused  as a virtual machine is: its wall clock stands still as well, and nothing tells it */
  sleep(ms: number, isPaused: boolean): void {
    this.#asleepSinceMs = this.#time.nowMs;
    this.#isPaused = isPaused;
    this.wakesAtMs = this.#time.nowMs + ms;
  }

  wake(): void {
    this.wakesAtMs = undefined;
    const ms = this.#time.nowMs - this.#asleepSinceMs;
    this.#sleptMs += ms;
    if (this.#isPaused) this.#skewMs -= ms;
  }
}
