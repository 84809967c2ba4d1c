/** Gathers what `check` finds, bounded: the first of each sort, and how many there were. */
import type { CheckFault, HurtPath, HurtSnapshot } from "./options.ts";
import { reportLimits } from "./options.ts";
import type { StoredSnapshot } from "../snapshots.ts";

export class FaultLog {
  readonly errors: CheckFault[] = [];
  readonly warnings: CheckFault[] = [];
  readonly hurtPaths: HurtPath[] = [];
  readonly #hurtSnapshots = new Map<string, { snapshot: StoredSnapshot; count: number }>();
  errorCount = 0;
  hurtPathCount = 0;

  error(fault: CheckFault): void {
    this.errorCount++;
    if (this.errors.length < reportLimits.errors) this.errors.push(fault);
  }

  warn(fault: CheckFault): void {
    if (this.warnings.length < reportLimits.errors) this.warnings.push(fault);
  }

  hurt(snapshot: StoredSnapshot, path: HurtPath): void {
    this.hurtPathCount++;
    if (this.hurtPaths.length < reportLimits.paths) this.hurtPaths.push(path);
    const known = this.#hurtSnapshots.get(snapshot.id);
    if (known === undefined) this.#hurtSnapshots.set(snapshot.id, { snapshot, count: 1 });
    else known.count++;
  }

  get hurtSnapshots(): HurtSnapshot[] {
    return [...this.#hurtSnapshots.values()].map(({ snapshot, count }) => ({
      id: snapshot.id,
      time: snapshot.time,
      hostname: snapshot.hostname,
      hurtCount: count,
    }));
  }
}
