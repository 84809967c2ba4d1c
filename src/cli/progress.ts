/** Progress of long work: redrawn on a terminal four times a second, a status document a second with `--json`. */
import { harmlessJson, printableName } from "../names.ts";
import type { Host } from "./host.ts";
import type { OutputOptions } from "./output.ts";
import { formatBytes, formatSeconds } from "./text.ts";

export interface ProgressState {
  readonly bytesDone: number;
  /** Undefined while it is not known. */
  readonly bytesTotal?: number | undefined;
  readonly filesDone?: number | undefined;
  /** What has gone to the storage, and what came from it. */
  readonly bytesSent?: number | undefined;
  readonly bytesReceived?: number | undefined;
  readonly current?: string | undefined;
}

const terminalIntervalMs = 250;
const jsonIntervalMs = 1000;

export class ProgressLine {
  readonly #host: Host;
  readonly #options: OutputOptions;
  #startMs: number | undefined;
  #lastMs = -Infinity;
  #shown = false;

  constructor(host: Host, options: OutputOptions) {
    this.#host = host;
    this.#options = options;
  }

  update(state: ProgressState): void {
    if (this.#options.quiet) return;
    const { json } = this.#options;
    if (!json && this.#host.stderr.isTTY !== true) return;
    const now = this.#host.elapsed();
    this.#startMs ??= now;
    if (now - this.#lastMs < (json ? jsonIntervalMs : terminalIntervalMs)) return;
    this.#lastMs = now;
    const seconds = (now - this.#startMs) / 1000;
    const rate = seconds > 0 ? state.bytesDone / seconds : 0;
    const left =
      state.bytesTotal === undefined || rate === 0
        ? undefined
        : (state.bytesTotal - state.bytesDone) / rate;
    if (json) this.#writeStatus(state, seconds, left);
    else this.#draw(state, rate, left);
  }

  /** Takes the line away, so that other output starts at the left. */
  clear(): void {
    if (!this.#shown) return;
    this.#shown = false;
    this.#host.stderr.write("\r\u001b[K");
  }

  #writeStatus(state: ProgressState, seconds: number, left: number | undefined): void {
    const status = {
      message_type: "status",
      percent_done:
        state.bytesTotal === undefined || state.bytesTotal === 0
          ? undefined
          : state.bytesDone / state.bytesTotal,
      bytes_done: state.bytesDone,
      total_bytes: state.bytesTotal,
      files_done: state.filesDone,
      bytes_sent: state.bytesSent,
      bytes_received: state.bytesReceived,
      seconds_elapsed: Math.round(seconds),
      seconds_remaining: left === undefined ? undefined : Math.round(left),
      current: state.current,
    };
    this.#host.stdout.write(`${harmlessJson(status)}\n`);
  }

  #draw(state: ProgressState, rate: number, left: number | undefined): void {
    const parts = [formatBytes(state.bytesDone)];
    if (state.bytesTotal !== undefined && state.bytesTotal > 0) {
      const percent = Math.min(100, (100 * state.bytesDone) / state.bytesTotal).toFixed(1);
      parts[0] = `${percent} %  ${formatBytes(state.bytesDone)} of ${formatBytes(state.bytesTotal)}`;
    }
    parts.push(`${formatBytes(rate)}/s`);
    if (state.bytesSent !== undefined) parts.push(`sent ${formatBytes(state.bytesSent)}`);
    // When all is read, what is left is to send it.
    if (left !== undefined && left > 0) parts.push(`${formatSeconds(left)} left`);
    if (state.current !== undefined) parts.push(printableName(state.current));
    const width = (this.#host.stderr.columns ?? 80) - 1;
    this.#host.stderr.write(`\r\u001b[K${parts.join("  ").slice(0, width)}`);
    this.#shown = true;
  }
}
