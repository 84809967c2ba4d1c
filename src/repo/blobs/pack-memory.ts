/**
 * The memory that packs are filled in: a fixed number of buffers, handed round.
 *
 * Two a lane: it fills one while the other is on its way to storage, or waits ahead so that the lane
 * does not when a pack closes. When storage is slow none is free, and the lanes wait: this is what
 * bounds a backup's memory.
 *
 * A line to far storage should not lie idle until the first packs are full: they are small, and grow
 * with what has been filled. So a night's packs are some ten more, and a first backup's, too.
 */
import { packCapacity } from "./pack-builder.ts";

const buffersPerLane = 2;
const growth = 1 / 4;

export class PackMemory {
  readonly #bytes: number;
  readonly #give: (lane: number, memory: Uint8Array) => void;
  /** Buffers that each lane has. */
  readonly #held: number[];
  readonly #firstBytes: number;
  #filledBytes = 0;

  /**
   * @param sizes.most   length of a full pack
   * @param sizes.first  of the first ones
   * @param give         hands a buffer to a lane; called at once for what each holds at first
   */
  constructor(
    sizes: { readonly most: number; readonly first: number },
    laneCount: number,
    give: (lane: number, memory: Uint8Array) => void,
  ) {
    this.#bytes = sizes.most;
    this.#firstBytes = sizes.first;
    this.#give = give;
    this.#held = Array.from({ length: laneCount }, () => 0);
    for (let round = 0; round < buffersPerLane; round++) {
      for (let lane = 0; lane < laneCount; lane++) this.#provide(lane, this.#newBuffer());
    }
  }

  /** A lane sent a pack off. */
  filled(lane: number, packBytes: number): void {
    this.#held[lane] = this.#held[lane]! - 1;
    this.#filledBytes += packBytes;
  }

  /** A pack is durable; its memory goes to the lane that has least. */
  free(pack: Uint8Array): void {
    this.#provide(this.#held.indexOf(Math.min(...this.#held)), new Uint8Array(pack.buffer));
  }

  #provide(lane: number, memory: Uint8Array): void {
    this.#held[lane] = this.#held[lane]! + 1;
    this.#give(lane, memory.subarray(0, this.#length()));
  }

  #length(): number {
    const grown = Math.max(this.#firstBytes, Math.floor(this.#filledBytes * growth));
    return grown < this.#bytes ? packCapacity(grown) : this.#bytes;
  }

  /** Untouched pages cost nothing: a run that stores little uses little. */
  #newBuffer(): Uint8Array {
    return new Uint8Array(new SharedArrayBuffer(this.#bytes));
  }
}
