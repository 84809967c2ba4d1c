/** Choices that follow from a seed. */
import { seededNumbers } from "../collector/mixing-storage.ts";

export class Numbers {
  readonly #below: (limit: number) => number;

  constructor(seed: number) {
    // Neighbouring seeds begin alike: a few numbers are thrown away.
    this.#below = seededNumbers(Math.imul(seed, 0x9e3779b1) ^ 0x5bd1e995);
    for (let n = 0; n < 4; n++) this.#below(2);
  }

  /** A whole number from 0 to below `limit`. */
  below(limit: number): number {
    return this.#below(limit);
  }

  between(least: number, most: number): number {
    return least + this.#below(most - least + 1);
  }

  /** True once in `times`. */
  oneIn(times: number): boolean {
    return this.#below(times) === 0;
  }

  pick<T>(choices: readonly T[]): T {
    return choices[this.#below(choices.length)]!;
  }
}
