/**
 * Where a state machine runs: in a thread of its own, or in this one.
 *
 * Both executors have one contract: messages arrive in order, answers too, and never while `post` is
 * on the stack. Inline is for tests and for runs that must be repeatable; it blocks between messages
 * only.
 */
import { Worker } from "node:worker_threads";
import { FailedError } from "../../errors.ts";

export interface Machine<In> {
  receive(message: In): void;
}

export interface Executor<In> {
  post(message: In): void;
  /** Ends it at once; what was posted and not answered is lost. */
  close(): Promise<void>;
}

export interface ExecutorEvents<Out> {
  message(message: Out): void;
  /** The machine threw or its thread ended: no further message comes. */
  crash(error: Error): void;
}

export function inlineExecutor<In, Out>(
  make: (post: (message: Out) => void) => Machine<In>,
  events: ExecutorEvents<Out>,
): Executor<In> {
  const machine = make((message) => {
    events.message(message);
  });
  let inbox: In[] = [];
  let scheduled = false;
  let closed = false;
  const step = (): void => {
    scheduled = false;
    const message = inbox.shift();
    if (message === undefined || closed) return;
    try {
      machine.receive(message);
    } catch (error) {
      closed = true;
      events.crash(asError(error));
      return;
    }
    schedule();
  };
  const schedule = (): void => {
    if (scheduled || closed || inbox.length === 0) return;
    scheduled = true;
    setImmediate(step);
  };
  return {
    post(message) {
      inbox.push(message);
      schedule();
    },
    close() {
      closed = true;
      inbox = [];
      return Promise.resolve();
    },
  };
}

/** Sealing makes native buffers that only a collection frees: small generations keep them few. */
const resourceLimits = { maxYoungGenerationSizeMb: 1 };

/** Which program a thread runs. */
export interface ThreadEntry {
  readonly url: URL;
  readonly execArgv?: readonly string[];
}

/** @param data  sent once, as the thread starts: keys go here and nowhere else */
export function threadExecutor<In, Out>(
  entry: ThreadEntry,
  data: unknown,
  events: ExecutorEvents<Out>,
): Executor<In> {
  const worker = new Worker(entry.url, {
    workerData: data,
    resourceLimits,
    ...(entry.execArgv === undefined ? {} : { execArgv: [...entry.execArgv] }),
  });
  let closing = false;
  const crash = (cause: unknown): void => {
    if (closing) return;
    closing = true;
    events.crash(new FailedError("Cannot go on: a worker thread failed", { cause }));
  };
  worker.on("message", (message: Out) => {
    if (!closing) events.message(message);
  });
  worker.on("error", crash);
  worker.on("messageerror", crash);
  worker.on("exit", (code) => {
    crash(new Error(`the thread ended with ${code}`));
  });
  return {
    post(message) {
      worker.postMessage(message);
    },
    async close() {
      closing = true;
      await worker.terminate();
    },
  };
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
