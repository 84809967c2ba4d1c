/** Ids of one repository and what they are in another, lately used ones; a bounded number. */
import { toHex } from "../../../bytes.ts";

export class IdMemory {
  readonly #most: number;
  /** In order of use. */
  readonly #ids = new Map<string, Uint8Array>();

  constructor(most: number) {
    this.#most = most;
  }

  get(source: Uint8Array): Uint8Array | undefined {
    const key = toHex(source);
    const target = this.#ids.get(key);
    if (target === undefined) return undefined;
    this.#ids.delete(key);
    this.#ids.set(key, target);
    return target;
  }

  set(source: Uint8Array, target: Uint8Array): void {
    this.#ids.set(toHex(source), target);
    if (this.#ids.size <= this.#most) return;
    for (const oldest of this.#ids.keys()) {
      this.#ids.delete(oldest);
      return;
    }
  }
}
