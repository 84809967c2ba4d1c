/** What a run has done so far, and what it has to tell. */
import type { TrafficCounts } from "../../../storage/index.ts";
import type { BackupHooks, FileState } from "./options.ts";

export class Tally {
  filesNew = 0;
  filesChanged = 0;
  filesUnmodified = 0;
  bytesTotal = 0;
  bytesDone = 0;
  isIncomplete = false;
  readonly warnings: string[] = [];
  #current: string | undefined;
  readonly #hooks: BackupHooks;
  readonly #expectedBytes: number | undefined;
  readonly #traffic: TrafficCounts | undefined;

  constructor(
    hooks: BackupHooks,
    expectedBytes: number | undefined,
    traffic: TrafficCounts | undefined,
  ) {
    this.#hooks = hooks;
    this.#expectedBytes = expectedBytes;
    this.#traffic = traffic;
  }

  /** @param isIncomplete  something is missing or may be a mixture: the run will end with exit code 3 */
  warn(message: string, isIncomplete = true): void {
    this.warnings.push(message);
    this.isIncomplete ||= isIncomplete;
    this.#hooks.onWarning?.(message);
  }

  advance(bytes: number, current?: string): void {
    this.bytesDone += bytes;
    this.#current = current;
    this.show();
  }

  /** Also while nothing is read, since what is sent moves on. */
  show(): void {
    this.#hooks.onProgress?.({
      bytesDone: this.bytesDone,
      bytesTotal: this.#expectedBytes,
      filesDone: this.filesNew + this.filesChanged + this.filesUnmodified,
      current: this.#current,
      bytesSent: this.#traffic?.bytesSent,
      bytesReceived: this.#traffic?.bytesReceived,
    });
  }

  count(state: FileState, size: number, path: string): void {
    if (state === "new") this.filesNew++;
    else if (state === "changed") this.filesChanged++;
    else this.filesUnmodified++;
    this.bytesTotal += size;
    this.#hooks.onFile?.(path, state);
  }
}
