/**
 * The lanes of one writer: which has a free slot, whose answer is whose.
 *
 * Back-pressure is here: a cut waits until a slot is free, and a slot is free when its chunks are
 * stored, which waits for pack memory, which waits for the storage.
 */
import { inlineExecutor, threadExecutor, type Executor, type ThreadEntry } from "./executor.ts";
import { Lane } from "./lane.ts";
import type { LaneStart } from "./lane-entry.ts";
import type {
  ChunkBases,
  CutSource,
  Cutter,
  FromLane,
  LaneConfig,
  ToLane,
} from "./lane-messages.ts";

export type LaneMessage<T extends FromLane["type"]> = Extract<FromLane, { type: T }>;

export interface CutAnswer extends LaneMessage<"cut"> {
  /** Must be called once, soon: until then the slot is taken. */
  store(wanted: Uint8Array, bases?: ChunkBases): void;
}

interface PoolLane {
  /** Started with its first work, unless all were started before: a night without any starts no thread. */
  executor: Executor<ToLane> | undefined;
  /** What it is told when it starts. */
  readonly early: ToLane[];
  freeSlots: number;
  /** Settled when the lane has flushed. */
  flushed: (() => void) | undefined;
}

interface Waiter<T> {
  resolve(value: T): void;
  reject(error: Error): void;
}

export interface LanePoolEvents {
  /** `lane` counts from 0. */
  pack(lane: number, message: LaneMessage<"pack">): void;
  crash(error: Error): void;
}

export class LanePool {
  readonly #config: LaneConfig;
  readonly #entry: ThreadEntry | undefined;
  readonly #lanes: PoolLane[];
  readonly #events: LanePoolEvents;
  readonly #cuts = new Map<number, Waiter<LaneMessage<"cut">>>();
  #waiters: Waiter<PoolLane>[] = [];
  #nextJob = 0;
  #failure: Error | undefined;
  #flushFailed: ((error: Error) => void) | undefined;

  /** @param entry  undefined: one lane, inline */
  constructor(
    config: LaneConfig,
    count: number,
    entry: ThreadEntry | undefined,
    events: LanePoolEvents,
  ) {
    this.#config = config;
    this.#entry = entry;
    this.#events = events;
    this.#lanes = Array.from({ length: entry === undefined ? 1 : count }, () => ({
      executor: undefined,
      early: [],
      freeSlots: config.slots,
      flushed: undefined,
    }));
  }

  get laneCount(): number {
    return this.#lanes.length;
  }

  /** While something else takes its time, so that the first work need not wait for threads. */
  start(): void {
    for (const lane of this.#lanes) this.#started(lane);
  }

  /** Waits for a free slot, and for the parts to be read, cut and named. */
  async cut(cutter: Cutter, parts: readonly CutSource[]): Promise<CutAnswer> {
    const lane = await this.#takeSlot();
    const executor = this.#started(lane);
    const job = this.#nextJob++;
    const answer = await new Promise<LaneMessage<"cut">>((resolve, reject) => {
      this.#cuts.set(job, { resolve, reject });
      executor.post({ type: "cut", job, cutter, parts });
    });
    return {
      ...answer,
      store: (wanted, bases) => {
        executor.post({
          type: "store",
          job,
          wanted,
          ...(bases === undefined ? {} : { bases }),
        });
      },
    };
  }

  room(lane: number, room: Omit<Extract<ToLane, { type: "room" }>, "type">): void {
    const { executor, early } = this.#lanes[lane]!;
    const message: ToLane = { type: "room", ...room };
    if (executor === undefined) early.push(message);
    else executor.post(message);
  }

  /** Resolves when every lane has closed its pack; the packs were announced before. */
  async flush(): Promise<void> {
    this.#throwFailure();
    const failed = new Promise<never>((_, reject) => {
      this.#flushFailed = reject;
    });
    const flushed = this.#lanes.map((lane) => {
      const { executor } = lane;
      if (executor === undefined) return Promise.resolve();
      return new Promise<void>((resolve) => {
        lane.flushed = resolve;
        executor.post({ type: "flush" });
      });
    });
    await Promise.race([Promise.all(flushed), failed]);
    this.#flushFailed = undefined;
  }

  /** Nothing more is answered: whoever waits gets `error`. */
  fail(error: Error): void {
    this.#failure ??= error;
    for (const waiter of [...this.#waiters, ...this.#cuts.values()]) waiter.reject(error);
    this.#waiters = [];
    this.#cuts.clear();
    this.#flushFailed?.(error);
  }

  async close(): Promise<void> {
    await Promise.all(
      this.#lanes.flatMap(({ executor }) => (executor === undefined ? [] : [executor.close()])),
    );
  }

  #started(lane: PoolLane): Executor<ToLane> {
    lane.executor ??= this.#start(lane);
    return lane.executor;
  }

  #start(lane: PoolLane): Executor<ToLane> {
    const config = this.#config;
    const number = this.#lanes.indexOf(lane);
    const events = {
      message: (message: FromLane) => {
        this.#receive(number, message);
      },
      crash: (error: Error) => {
        this.#events.crash(error);
      },
    };
    const start: LaneStart = { role: "write", config };
    const executor: Executor<ToLane> =
      this.#entry === undefined
        ? inlineExecutor((post) => new Lane(config, post), events)
        : threadExecutor(this.#entry, start, events);
    for (const message of lane.early) executor.post(message);
    return executor;
  }

  #takeSlot(): Promise<PoolLane> {
    this.#throwFailure();
    const idlest = this.#lanes.reduce((a, b) => (b.freeSlots > a.freeSlots ? b : a));
    if (idlest.freeSlots > 0) {
      idlest.freeSlots--;
      return Promise.resolve(idlest);
    }
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
  }

  #receive(number: number, message: FromLane): void {
    const lane = this.#lanes[number]!;
    switch (message.type) {
      case "cut": {
        const cut = this.#cuts.get(message.job);
        this.#cuts.delete(message.job);
        cut?.resolve(message);
        return;
      }
      case "stored": {
        const waiter = this.#waiters.shift();
        if (waiter === undefined) lane.freeSlots++;
        else waiter.resolve(lane);
        return;
      }
      case "pack":
        this.#events.pack(number, message);
        return;
      case "flushed":
        lane.flushed?.();
        return;
    }
  }

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }
}
