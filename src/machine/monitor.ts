/** What tells QEMU what to do: its own socket, or libvirt in between. */
import { setTimeout as sleep } from "node:timers/promises";
import { FailedError } from "../errors.ts";
import type { JsonObject } from "./qmp/json.ts";

export interface Monitor {
  /** "7.2.22", for messages. */
  readonly version: string;
  /** Whether it makes sense to ask. */
  readonly isOpen: boolean;
  /**
   * @returns what QEMU answers
   * @throws {QmpCommandError} when it refuses
   */
  execute(command: string, args?: JsonObject): Promise<unknown>;
  close(): void;
}

const waits = 400;
const waitMsMax = 200;

/**
 * Asks until it is so: events do not come through libvirt.
 *
 * @param what  for the error, a minute later
 */
export async function waitUntil(isSo: () => Promise<boolean>, what: string): Promise<void> {
  for (let n = 0; n < waits; n++) {
    if (await isSo()) return;
    await sleep(Math.min(1 << Math.min(n, 8), waitMsMax));
  }
  throw new FailedError(`Cannot go on with the machine: it did not report ${what} in time`);
}
