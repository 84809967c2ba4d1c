/** What a restore has done so far, and what it has to tell. */
import type { FileProblem } from "../../../files/index.ts";
import { printableName } from "../../../names.ts";
import type { DirectoryEntry } from "../../format/index.ts";
import type { EntryOutcome, RestoreHooks, RestoreSummary } from "./options.ts";

const pathsKept = 100;

export class RestoreTally {
  filesTotal = 0;
  bytesTotal = 0;
  filesRestored = 0;
  filesSkipped = 0;
  bytesRestored = 0;
  bytesSkipped = 0;
  bytesWritten = 0;
  bytesFetched = 0;
  readonly #hooks: RestoreHooks;
  readonly #expectedBytes: number | undefined;
  readonly #damaged = new PathList();
  readonly #unequal = new PathList();
  #failed = 0;
  #bytesDone = 0;
  #current: string | undefined;

  constructor(hooks: RestoreHooks, expectedBytes: number | undefined) {
    this.#hooks = hooks;
    this.#expectedBytes = expectedBytes;
  }

  /** An entry was selected. */
  select(size: number): void {
    this.filesTotal++;
    this.bytesTotal += size;
  }

  restored(path: string, size: number): void {
    this.filesRestored++;
    this.bytesRestored += size;
    this.entry(path, "restored");
  }

  kept(path: string, size: number): void {
    this.filesSkipped++;
    this.bytesSkipped += size;
    this.entry(path, "kept");
    this.advance(size);
  }

  entry(path: string, outcome: EntryOutcome): void {
    this.#current = path;
    this.#hooks.onEntry?.(path, outcome);
  }

  advance(bytes: number): void {
    this.#bytesDone += bytes;
    this.#hooks.onProgress?.({
      bytesDone: this.#bytesDone,
      bytesTotal: this.#expectedBytes,
      filesDone: this.filesRestored + this.filesSkipped,
      current: this.#current,
    });
  }

  warn(message: string): void {
    this.#hooks.onWarning?.(message);
  }

  /** Owners and attributes that a system or a user cannot set are a warning, and no failure. */
  problem(problem: FileProblem): void {
    if (problem.kind !== "metadata") this.#failed++;
    this.warn(problem.message);
  }

  /** A file of that name does not hold a raw disk, as a rule. */
  noteRaw({ disk }: DirectoryEntry, path: string): void {
    if (disk === undefined) return;
    const again =
      disk.format === "qcow2"
        ? "--format qcow2 makes one again"
        : "qemu-img convert makes one again";
    this.warn(
      `${printableName(path)} is restored as a raw disk; it was a ${disk.format} file: ${again}`,
    );
  }

  damaged(path: string, message: string): void {
    this.#damaged.add(path);
    this.warn(message);
  }

  unequal(path: string, message: string): void {
    this.#unequal.add(path);
    this.warn(message);
  }

  summary(snapshotId: string, durationSeconds: number): RestoreSummary {
    return {
      snapshotId,
      filesTotal: this.filesTotal,
      bytesTotal: this.bytesTotal,
      filesRestored: this.filesRestored,
      filesSkipped: this.filesSkipped,
      bytesRestored: this.bytesRestored,
      bytesSkipped: this.bytesSkipped,
      bytesWritten: this.bytesWritten,
      bytesFetched: this.bytesFetched,
      durationSeconds,
      damaged: this.#damaged.first,
      damagedCount: this.#damaged.count,
      unequal: this.#unequal.first,
      unequalCount: this.#unequal.count,
      failedCount: this.#failed,
    };
  }
}

class PathList {
  readonly first: string[] = [];
  count = 0;

  add(path: string): void {
    this.count++;
    if (this.first.length < pathsKept) this.first.push(path);
  }
}
