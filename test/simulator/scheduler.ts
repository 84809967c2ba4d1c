/**
 * Many runs of the program at once, one step at a time: each call to the storage waits until the
 * scheduler lets it happen. Which comes next, what fails, who dies and who sleeps follows from a seed.
 */
import { BackendError } from "../../src/errors.ts";
import type { ObjectKind } from "../../src/storage/index.ts";
import { SimulatedCrash } from "../support/storage-faults.ts";
import type { Numbers } from "./numbers.ts";
import type { Host, VirtualTime } from "./virtual-time.ts";

export interface Call {
  readonly actor: Actor;
  readonly operation: "put" | "get" | "list" | "stat" | "delete";
  readonly kind: ObjectKind;
  readonly name: string;
  /** It cannot happen before. */
  readonly readyAtMs: number;
  /** What it does to the storage, when its time has come. */
  readonly act: () => unknown;
  readonly resolve: (answer: unknown) => void;
  readonly reject: (error: unknown) => void;
  /** Done, and the answer is on its way. */
  answer?: { readonly value: unknown };
}

export type Outcome =
  | { readonly state: "done"; readonly value: unknown }
  | { readonly state: "failed"; readonly error: unknown }
  | { readonly state: "dead" };

/** One run of the program on one host. */
export class Actor {
  readonly name: string;
  readonly host: Host;
  isDead = false;
  hasSlept = false;
  isUndisturbed = false;
  /** Each of its calls takes so long, but for its session's: a link that is slow, a disk that is large. */
  slowMs = 0;
  /** Calls that are made before that begins. */
  quickCalls = 0;
  /** Calls of its that were made to fail. */
  faults = 0;
  outcome: Outcome | undefined;
  readonly #run: (actor: Actor) => Promise<unknown>;

  constructor(name: string, host: Host, run: (actor: Actor) => Promise<unknown>) {
    this.name = name;
    this.host = host;
    this.#run = run;
  }

  start(): void {
    this.#run(this).then(
      (value) => {
        this.outcome = this.isDead ? { state: "dead" } : { state: "done", value };
      },
      (error: unknown) => {
        this.outcome = this.isDead ? { state: "dead" } : { state: "failed", error };
      },
    );
  }
}

/** Who is next: each way finds other faults. */
export type Order = "any" | "sticky" | "ranked";

export interface Chances {
  readonly order: Order;
  /** Once in so many steps; 0 never. */
  readonly crash: number;
  readonly fault: number;
  readonly sleep: number;
  readonly jump: number;
  /** Of the answer to a change coming later than the change. */
  readonly late: number;
}

/** Nothing goes wrong but that others are at work. */
export const calm: Chances = { order: "sticky", crash: 0, fault: 0, sleep: 0, jump: 0, late: 0 };

export interface SchedulerEvents {
  /** Undefined where nobody reads it: millions of lines. */
  readonly trace: ((line: string) => void) | undefined;
  /** After each change of what is stored. */
  changed(call: Call): Promise<void>;
}

/** Picks among those that could be next: a number below `choices.length`. */
export type PickNext = (choices: readonly Call[], last: Actor | undefined) => Call;

const stepsMost = 20_000;
const longestSleepMs = 3 * 24 * 3_600_000;

export class Scheduler {
  readonly #time: VirtualTime;
  readonly #numbers: Numbers;
  readonly #chances: Chances;
  readonly #events: SchedulerEvents;
  readonly #pickNext: PickNext;
  readonly #actors: Actor[] = [];
  #calls: Call[] = [];
  #steps = 0;
  #last: Actor | undefined;
  #ranks: Actor[] = [];

  constructor(
    time: VirtualTime,
    numbers: Numbers,
    chances: Chances,
    events: SchedulerEvents,
    pickNext?: PickNext,
  ) {
    this.#time = time;
    this.#numbers = numbers;
    this.#chances = chances;
    this.#events = events;
    this.#pickNext = pickNext ?? ((choices) => this.#choose(choices));
  }

  get steps(): number {
    return this.#steps;
  }

  add(actor: Actor): void {
    this.#actors.push(actor);
    this.#ranks.splice(this.#numbers.below(this.#ranks.length + 1), 0, actor);
    actor.start();
  }

  /** Until none is at work, or `untilMs`. */
  async run(untilMs = Infinity): Promise<void> {
    for (;;) {
      await quiet();
      const working = this.#actors.filter(({ outcome }) => outcome === undefined);
      if (working.length === 0) return this.#landLate();
      if (!this.#passTime(working, untilMs)) return;
      await quiet();
      const ready = this.#calls.filter((call) => this.#isReady(call));
      if (ready.length === 0) continue;
      if (this.#steps++ > stepsMost) throw new Error("the simulation does not end");
      const call = this.#pickNext(ready, this.#last);
      this.#last = call.actor;
      this.#disturb(call.actor);
      if (this.#calls.includes(call) && call.actor.host.wakesAtMs === undefined)
        await this.#perform(call);
    }
  }

  /** One that runs asks for something of the storage. */
  ask(
    actor: Actor,
    operation: Call["operation"],
    kind: ObjectKind,
    name: string,
    act: () => unknown,
  ): Promise<unknown> {
    if (actor.isDead) return Promise.reject(new SimulatedCrash());
    return new Promise((resolve, reject) => {
      const isQuick = kind === "locks" || actor.quickCalls-- > 0;
      const readyAtMs = this.#time.nowMs + (isQuick ? 0 : actor.slowMs);
      this.#calls.push({ actor, operation, kind, name, readyAtMs, act, resolve, reject });
    });
  }

  #isReady({ actor, readyAtMs }: Call): boolean {
    return actor.host.wakesAtMs === undefined && readyAtMs <= this.#time.nowMs;
  }

  /** @returns false when `untilMs` has come */
  #passTime(working: readonly Actor[], untilMs: number): boolean {
    const time = this.#time;
    time.advanceTo(time.nowMs + this.#numbers.between(5, 300));
    if (!this.#calls.some((call) => this.#isReady(call))) {
      const isAwake = working.some(({ host }) => host.wakesAtMs === undefined);
      const nextMs = Math.min(
        ...working.flatMap(({ host }) => host.wakesAtMs ?? []),
        ...this.#calls.flatMap(({ actor, readyAtMs }) =>
          actor.host.wakesAtMs === undefined ? [readyAtMs] : [],
        ),
        isAwake ? (time.nextTimerMs ?? Infinity) : Infinity,
      );
      if (nextMs === Infinity) throw new Error(`${working[0]!.name} waits for nothing`);
      time.advanceTo(Math.min(nextMs, untilMs));
    }
    if (time.nowMs >= untilMs) return false;
    for (const actor of working) {
      if (actor.host.wakesAtMs === undefined || actor.host.wakesAtMs > this.#time.nowMs) continue;
      actor.host.wake();
      this.#events.trace?.(`${actor.name} wakes`);
    }
    return true;
  }

  #choose(choices: readonly Call[]): Call {
    const numbers = this.#numbers;
    if (this.#chances.order === "any") return numbers.pick(choices);
    if (this.#chances.order === "sticky") {
      const same = choices.filter(({ actor }) => actor === this.#last);
      return numbers.pick(same.length > 0 && !numbers.oneIn(12) ? same : choices);
    }
    // Who ranks first goes on until the ranks change: few changes, each at a place of its own.
    if (numbers.oneIn(25)) this.#ranks.push(this.#ranks.shift()!);
    const first = this.#ranks.find((actor) => choices.some((call) => call.actor === actor));
    return numbers.pick(choices.filter(({ actor }) => actor === first));
  }

  #disturb(actor: Actor): void {
    if (actor.isUndisturbed) return;
    const { crash, sleep, jump } = this.#chances;
    const numbers = this.#numbers;
    if (crash > 0 && numbers.oneIn(crash)) this.#kill(actor);
    else if (sleep > 0 && !actor.hasSlept && numbers.oneIn(sleep)) {
      const ms = numbers.pick([60_000, 16 * 60_000, 40 * 60_000, 3_600_000 * 26, longestSleepMs]);
      const isPaused = numbers.oneIn(2);
      this.#events.trace?.(
        `${actor.name} ${isPaused ? "is paused" : "sleeps"} for ${duration(ms)}`,
      );
      actor.hasSlept = true;
      actor.host.sleep(ms, isPaused);
    } else if (jump > 0 && numbers.oneIn(jump)) {
      const ms = numbers.pick([-24, -1, -0.3, 0.3, 1, 24]) * 3_600_000;
      this.#events.trace?.(`${actor.name}: its clock jumps by ${duration(ms)}`);
      actor.host.jump(ms);
    }
  }

  /** Nothing more of it happens, but that what is on its way may still arrive. */
  #kill(actor: Actor): void {
    this.#events.trace?.(`${actor.name} is killed`);
    actor.isDead = true;
    const own = this.#calls.filter((call) => call.actor === actor);
    this.#calls = this.#calls.filter((call) => call.actor !== actor);
    for (const call of own) {
      call.reject(new SimulatedCrash());
      const isOnItsWay = call.operation === "put" || call.operation === "delete";
      if (isOnItsWay && call.answer === undefined && this.#numbers.oneIn(2)) {
        this.#calls.push({ ...call, resolve: () => undefined, reject: () => undefined });
      }
    }
  }

  /** What dead runs had sent arrives in the end. */
  async #landLate(): Promise<void> {
    for (const call of this.#calls.splice(0)) await this.#do(call, " (late)");
  }

  async #perform(call: Call): Promise<void> {
    const { fault } = this.#chances;
    const { isDead, isUndisturbed } = call.actor;
    const fails = !isDead && !isUndisturbed && fault > 0 && this.#numbers.oneIn(fault);
    if (fails) {
      this.#drop(call);
      call.actor.faults++;
      // Its answer may be all that is lost.
      if (call.answer === undefined && this.#numbers.oneIn(2)) await this.#do(call, "");
      this.#trace(call, ": fails");
      const isFull = call.operation === "put" && this.#numbers.oneIn(3);
      call.reject(
        new BackendError(`Cannot ${call.operation} ${call.kind} object: a simulated fault`, {
          errno: isFull ? "ENOSPC" : "EIO",
        }),
      );
      return;
    }
    if (call.answer === undefined) {
      await this.#do(call, "");
      const isChange = call.operation === "put" || call.operation === "delete";
      const { late } = this.#chances;
      if (isChange && late > 0 && this.#numbers.oneIn(late)) return;
    }
    this.#drop(call);
    call.resolve(call.answer!.value);
  }

  async #do(call: Call, how: string): Promise<void> {
    call.answer = { value: call.act() };
    this.#trace(call, how);
    if (call.operation === "put" || call.operation === "delete") await this.#events.changed(call);
  }

  #drop(call: Call): void {
    this.#calls = this.#calls.filter((other) => other !== call);
  }

  #trace({ actor, operation, kind, name, answer }: Call, how: string): void {
    if (this.#events.trace === undefined) return;
    const value = typeof answer?.value === "string" || answer?.value === false;
    const said = value ? ` = ${String(answer.value)}` : "";
    this.#events.trace(`${actor.name} ${operation} ${kind} ${name.slice(0, 8)}${said}${how}`);
  }
}

export function duration(ms: number): string {
  const minutes = Math.round(ms / 60_000);
  return Math.abs(minutes) < 120 ? `${minutes} min` : `${Math.round(minutes / 60)} h`;
}

/** Until whoever runs has asked for what it needs next, and no read of a file is under way. */
async function quiet(): Promise<void> {
  for (let calm = 0; calm < 2; calm++) {
    await new Promise<void>((resolve) => setImmediate(resolve));
    if (process.getActiveResourcesInfo().some((name) => name.startsWith("FSReq"))) calm = -1;
  }
}
