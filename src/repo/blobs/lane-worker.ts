/** A thread's program: one lane, and the port it listens to. */
import { parentPort, workerData } from "node:worker_threads";
import { assert } from "../../errors.ts";
import type { Machine } from "./executor.ts";
import { Lane } from "./lane.ts";
import type { LaneStart } from "./lane-entry.ts";
import { RestoreLane } from "./restore-lane.ts";

const port = parentPort;
assert(port !== null, "a lane's program runs in a thread");
const start = workerData as LaneStart;
const post = (message: unknown): void => {
  port.postMessage(message);
};
const lane =
  start.role === "write" ? new Lane(start.config, post) : new RestoreLane(start.config, post);
port.on("message", (message: unknown) => {
  (lane as Machine<unknown>).receive(message);
});
