/**
 * A lane: reads into its own memory, cuts, names, and packs what it is told to, on one core.
 *
 * A state machine without time or threads of its own: `receive` does all that can be done and says
 * so by `post`. It runs in a worker, or inline where a run must be repeatable. Plain bytes never
 * leave the slot they were read into, but sealed.
 */
import { BlockHasher, cutSegment, cutStream, holeBit, blockBytes } from "../../chunker/index.ts";
import { createIdHasher, type IdHasher, type PackSeal } from "../../crypto/index.ts";
import { assert } from "../../errors.ts";
import { blobForm, idBytes } from "../format/index.ts";
import { FormChooser } from "./choose-form.ts";
import { hookSampleBits } from "./hook-table.ts";
import type { ChunkBases, CutPart, FromLane, LaneConfig, ToLane } from "./lane-messages.ts";
import { PackBuilder } from "./pack-builder.ts";
import { fillSlot, type Filled } from "./read-source.ts";
import { openZstd } from "./zstd.ts";

/** Chunks of a slot that was cut; they stay in place until the coordinator has answered. */
interface CutSlot {
  readonly slot: number;
  /** From the start of the lane's memory. */
  readonly starts: Uint32Array;
  readonly lengths: Uint32Array;
  readonly ids: Uint8Array;
}

interface StoreJob extends CutSlot {
  readonly job: number;
  readonly wanted: Uint8Array;
  readonly bases: ChunkBases;
  next: number;
}

interface Room {
  readonly seal: PackSeal;
  readonly memory: Uint8Array;
}

interface ChunkHooks {
  readonly values: number[];
  readonly ends: number[];
}

interface ImageCut {
  readonly starts: number[];
  readonly lengths: number[];
  readonly runs: number[];
  readonly hooks: ChunkHooks;
}

export class Lane {
  readonly #config: LaneConfig;
  readonly #post: (message: FromLane) => void;
  readonly #hasher: BlockHasher;
  readonly #ids: IdHasher;
  readonly #chooser: FormChooser;
  readonly #freeSlots: number[];
  readonly #cut = new Map<number, CutSlot>();
  readonly #stores: StoreJob[] = [];
  readonly #rooms: Room[] = [];
  readonly #runs: Uint16Array;
  #builder: PackBuilder | undefined;
  #deltaCount = 0;
  #flushing = false;

  constructor(config: LaneConfig, post: (message: FromLane) => void) {
    this.#config = config;
    this.#post = post;
    this.#hasher = BlockHasher.create(config.keys.cutKey, config.slotBytes * config.slots);
    this.#ids = createIdHasher(config.keys);
    this.#chooser = new FormChooser(openZstd(config.level), config.verify);
    this.#freeSlots = Array.from({ length: config.slots }, (_, slot) => slot);
    this.#runs = new Uint16Array(config.slotBytes / blockBytes);
  }

  receive(message: ToLane): void {
    switch (message.type) {
      case "cut":
        this.#cutSlot(message);
        return;
      case "store": {
        const cut = this.#cut.get(message.job);
        assert(cut !== undefined, "only what was cut is stored");
        this.#cut.delete(message.job);
        const { job, wanted, bases = [] } = message;
        this.#stores.push({ ...cut, job, wanted, bases, next: 0 });
        break;
      }
      case "room":
        this.#rooms.push(message);
        break;
      case "flush":
        this.#flushing = true;
        break;
    }
    this.#work();
  }

  #cutSlot({ job, cutter, parts }: Extract<ToLane, { type: "cut" }>): void {
    const slot = this.#freeSlots.pop();
    assert(slot !== undefined, "a slot is free");
    const base = slot * this.#config.slotBytes;
    const memory = this.#hasher.buffer.subarray(base, base + this.#config.slotBytes);
    const starts: number[] = [];
    const lengths: number[] = [];
    const runs: number[] = [];
    const hooks: ChunkHooks = { values: [], ends: [] };
    const cutParts: CutPart[] = [];
    let at = 0;
    for (const part of parts) {
      const before = lengths.length;
      const filled = fillSlot(memory.subarray(at), part);
      if (filled.fault === undefined) {
        if (cutter === "image") this.#cutImage(base + at, filled, { starts, lengths, runs, hooks });
        else this.#cutStream(base + at, filled, starts, lengths);
      }
      cutParts.push({ ...filled, chunkCount: lengths.length - before });
      at += filled.bytes;
    }
    const cut = {
      slot,
      starts: Uint32Array.from(starts),
      lengths: Uint32Array.from(lengths),
      ids: this.#name(starts, lengths),
    };
    this.#cut.set(job, cut);
    this.#post({
      type: "cut",
      job,
      parts: cutParts,
      ids: cut.ids,
      lengths: cut.lengths,
      runs: Uint16Array.from(runs),
      hooks: Uint32Array.from(hooks.values),
      hookEnds: Uint32Array.from(hooks.ends),
    });
  }

  #cutImage(base: number, filled: Filled, cut: ImageCut): void {
    assert(base % blockBytes === 0, "an image's part begins with a block");
    const blockCount = Math.ceil(filled.bytes / blockBytes);
    const end = base + filled.bytes;
    // The last partial block is hashed zero-filled; its chunk keeps the exact bytes (R23).
    this.#hasher.buffer.fill(0, end, base + blockCount * blockBytes);
    const hashes = this.#hasher.hash(base, blockCount);
    const runCount = cutSegment(hashes, blockCount, this.#config.image, this.#runs);
    const values = this.#config.hooks === true ? this.#hasher.hookValues() : undefined;
    let at = base;
    for (let index = 0; index < runCount; index++) {
      const run = this.#runs[index]!;
      cut.runs.push(run);
      const next = at + (run & ~holeBit) * blockBytes;
      if ((run & holeBit) === 0) {
        cut.starts.push(at);
        cut.lengths.push(Math.min(next, end) - at);
        if (values !== undefined) {
          const first = (at - base) / blockBytes;
          sampleHooks(values, hashes.zero, first, first + run, cut.hooks);
        }
      }
      at = next;
    }
  }

  #cutStream(base: number, filled: Filled, starts: number[], lengths: number[]): void {
    const bytes = this.#hasher.buffer.subarray(base, base + filled.bytes);
    let at = base;
    for (const length of cutStream(bytes, filled.isEnd, this.#config.stream)) {
      starts.push(at);
      lengths.push(length);
      at += length;
    }
  }

  #name(starts: readonly number[], lengths: readonly number[]): Uint8Array {
    const ids = new Uint8Array(starts.length * idBytes);
    for (let index = 0; index < starts.length; index++) {
      const start = starts[index]!;
      const plain = this.#hasher.buffer.subarray(start, start + lengths[index]!);
      ids.set(this.#ids.id("data", plain), index * idBytes);
    }
    return ids;
  }

  /** Stores until all is stored or there is no room; a room that comes goes on where this stopped. */
  #work(): void {
    for (let job = this.#stores[0]; job !== undefined; job = this.#stores[0]) {
      while (job.next < job.wanted.length) {
        if (job.wanted[job.next] === 1 && !this.#storeChunk(job, job.next)) return;
        job.next++;
      }
      this.#stores.shift();
      this.#freeSlots.push(job.slot);
      this.#post({ type: "stored", job: job.job });
    }
    if (!this.#flushing) return;
    this.#flushing = false;
    this.#closePack();
    this.#post({ type: "flushed" });
  }

  /** @returns false when there is no room for another pack */
  #storeChunk(cut: StoreJob, index: number): boolean {
    if (!this.#openPack()) return false;
    const start = cut.starts[index]!;
    const plainLength = cut.lengths[index]!;
    const plain = this.#hasher.buffer.subarray(start, start + plainLength);
    const chosen = this.#chooser.chooseForm(plain, cut.bases[index]);
    if (this.#builder?.fits(chosen.bytes.length, chosen.bases.length) === false) {
      this.#closePack();
      // Without room the chunk is compressed once more when room comes: seldom, and nothing is held.
      if (!this.#openPack()) return false;
    }
    const id = cut.ids.subarray(index * idBytes, (index + 1) * idBytes);
    this.#builder?.add({ ...chosen, id, plainLength });
    if (chosen.form === blobForm.delta) this.#deltaCount++;
    if (this.#builder?.closesWell === true) this.#closePack();
    return true;
  }

  #openPack(): boolean {
    if (this.#builder !== undefined) return true;
    const room = this.#rooms.shift();
    if (room === undefined) return false;
    this.#builder = new PackBuilder(room.seal, this.#config.repoId, "data", room.memory);
    return true;
  }

  #closePack(): void {
    const builder = this.#builder;
    if (builder === undefined) return;
    this.#builder = undefined;
    this.#post({ type: "pack", ...builder.build(), deltaCount: this.#deltaCount });
    this.#deltaCount = 0;
  }
}

/** Zero blocks are everywhere and say nothing. */
function sampleHooks(
  values: BigUint64Array,
  zero: Uint8Array,
  first: number,
  end: number,
  hooks: ChunkHooks,
): void {
  const halves = new Uint32Array(values.buffer, values.byteOffset, values.length * 2);
  for (let block = first; block < end; block++) {
    const low = halves[2 * block]!;
    if ((low & ((1 << hookSampleBits) - 1)) !== 0 || zero[block] === 1) continue;
    hooks.values.push(low, halves[2 * block + 1]!);
  }
  hooks.ends.push(hooks.values.length);
}
