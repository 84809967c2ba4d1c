/**
 * The memory that packs are filled in: a fixed number of buffers, handed round.
 *
 * A lane holds one that it fills and one ahead, so that it does not wait when a pack closes; the
 * others are on their way to storage. When storage is slow none is free, and the lanes wait: this is
 * what bounds a backup's memory.
 */

const roomsAhead = 2;
/** Beyond what lanes hold: how many packs may be on their way with all lanes provided for. */
const buffersOnTheWay = 1;

export class PackMemory {
  readonly #bytes: number;
  readonly #give: (lane: number, memory: Uint8Array) => void;
  /** Rooms that each lane has. */
  readonly #held: number[];
  readonly #spare: Uint8Array[];

  /** @param give  hands a buffer of `bytes` to a lane; called at once for what each holds at first */
  constructor(bytes: number, laneCount: number, give: (lane: number, memory: Uint8Array) => void) {
    this.#bytes = bytes;
    this.#give = give;
    this.#held = Array.from({ length: laneCount }, () => 0);
    this.#spare = Array.from({ length: buffersOnTheWay }, () => this.#newBuffer());
    for (let round = 0; round < roomsAhead; round++) {
      for (let lane = 0; lane < laneCount; lane++) this.#provide(lane, this.#newBuffer());
    }
  }

  /** A lane sent a pack off. */
  filled(lane: number): void {
    this.#held[lane] = this.#held[lane]! - 1;
    const memory = this.#spare.pop();
    if (memory !== undefined) this.#provide(lane, memory);
  }

  /** A pack is durable; its memory goes to the lane that has least, or waits. */
  free(pack: Uint8Array): void {
    const memory = new Uint8Array(pack.buffer);
    const least = Math.min(...this.#held);
    if (least >= roomsAhead) this.#spare.push(memory);
    else this.#provide(this.#held.indexOf(least), memory);
  }

  #provide(lane: number, memory: Uint8Array): void {
    this.#held[lane] = this.#held[lane]! + 1;
    this.#give(lane, memory);
  }

  /** Untouched pages cost nothing: a run that stores little uses little. */
  #newBuffer(): Uint8Array {
    return new Uint8Array(new SharedArrayBuffer(this.#bytes));
  }
}
