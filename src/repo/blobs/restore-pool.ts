/** The lanes of one reader: jobs go to the lane with the fewest, answers to who asked. */
import { inlineExecutor, threadExecutor, type Executor, type ThreadEntry } from "./executor.ts";
import type { LaneStart } from "./lane-entry.ts";
import { RestoreLane } from "./restore-lane.ts";
import type { FromRestoreLane, RestoreLaneConfig, ToRestoreLane } from "./restore-messages.ts";

type Job<T extends ToRestoreLane["type"]> = Omit<
  Extract<ToRestoreLane, { type: T }>,
  "type" | "job"
>;
type Answer<T extends FromRestoreLane["type"]> = Extract<FromRestoreLane, { type: T }>;

interface PoolLane {
  readonly executor: Executor<ToRestoreLane>;
  jobs: number;
}

interface Waiter {
  resolve(message: FromRestoreLane): void;
  reject(error: Error): void;
}

export class RestorePool {
  readonly #lanes: PoolLane[];
  readonly #waiters = new Map<number, Waiter>();
  #nextJob = 0;
  #failure: Error | undefined;

  /** @param entry  undefined: one lane, inline */
  constructor(config: RestoreLaneConfig, count: number, entry: ThreadEntry | undefined) {
    const events = {
      message: (message: FromRestoreLane): void => {
        const waiter = this.#waiters.get(message.job);
        this.#waiters.delete(message.job);
        waiter?.resolve(message);
      },
      crash: (error: Error): void => {
        this.#failure = error;
        for (const waiter of this.#waiters.values()) waiter.reject(error);
        this.#waiters.clear();
      },
    };
    const start: LaneStart = { role: "restore", config };
    this.#lanes = Array.from({ length: entry === undefined ? 1 : count }, () => ({
      executor:
        entry === undefined
          ? inlineExecutor<ToRestoreLane, FromRestoreLane>(
              (post) => new RestoreLane(config, post),
              events,
            )
          : threadExecutor<ToRestoreLane, FromRestoreLane>(entry, start, events),
      jobs: 0,
    }));
  }

  get laneCount(): number {
    return this.#lanes.length;
  }

  async open(job: Job<"open">): Promise<Answer<"opened">> {
    return (await this.#run((number) => ({
      type: "open",
      job: number,
      ...job,
    }))) as Answer<"opened">;
  }

  async verify(job: Job<"verify">): Promise<Answer<"verified">> {
    return (await this.#run((number) => ({
      type: "verify",
      job: number,
      ...job,
    }))) as Answer<"verified">;
  }

  async close(): Promise<void> {
    await Promise.all(this.#lanes.map((lane) => lane.executor.close()));
  }

  async #run(message: (job: number) => ToRestoreLane): Promise<FromRestoreLane> {
    if (this.#failure !== undefined) throw this.#failure;
    const lane = this.#lanes.reduce((a, b) => (b.jobs < a.jobs ? b : a));
    const job = this.#nextJob++;
    lane.jobs++;
    try {
      return await new Promise((resolve, reject) => {
        this.#waiters.set(job, { resolve, reject });
        lane.executor.post(message(job));
      });
    } finally {
      lane.jobs--;
    }
  }
}
