/** Who asked for what, when, and what came of it: one line of JSON for each request. */
import { closeSync, openSync, writeSync } from "node:fs";
import { FailedError } from "../../errors.ts";
import { harmlessJson } from "../../names.ts";

export interface AuditEntry {
  readonly time: string;
  readonly address: string;
  readonly user?: string | undefined;
  readonly method: string;
  readonly repository?: string | undefined;
  /** `data/3f9a…`, `config`, `index/` for a listing; or the path, cut short, where it names nothing. */
  readonly object: string;
  readonly status: number;
  /** Of the request's body and of the answer's. */
  readonly received: number;
  readonly sent: number;
  readonly ms: number;
  /** Why it was refused or broken off. */
  readonly reason?: string | undefined;
}

export class AuditLog {
  readonly #path: string;
  readonly #warn: (message: string) => void;
  #file: number;
  #lost = 0;

  /** @param path  `-` for standard output @throws {FailedError} */
  constructor(path: string, warn: (message: string) => void) {
    this.#path = path;
    this.#warn = warn;
    this.#file = openLog(path);
  }

  /** After a rotation has moved the file away. */
  reopen(): void {
    const file = openLog(this.#path);
    this.close();
    this.#file = file;
  }

  /** A log that cannot be written stops nobody; how many lines it lacks stands in the next that can. */
  write(entry: AuditEntry): void {
    // Read on a terminal as a rule.
    const line = harmlessJson(this.#lost === 0 ? entry : { ...entry, linesLost: this.#lost });
    try {
      const bytes = Buffer.from(`${line}\n`, "utf8");
      for (let at = 0; at < bytes.length;) at += writeSync(this.#file, bytes, at);
      this.#lost = 0;
    } catch (error) {
      if (this.#lost++ > 0) return;
      this.#warn(`Cannot write audit log ${this.#path}: ${String(error)}`);
    }
  }

  close(): void {
    if (this.#path !== "-") closeSync(this.#file);
  }
}

function openLog(path: string): number {
  if (path === "-") return 1;
  try {
    return openSync(path, "a", 0o600);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new FailedError(`Cannot write audit log ${path}: ${why}`, { cause: error });
  }
}
