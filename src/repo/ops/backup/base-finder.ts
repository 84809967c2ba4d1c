/**
 * What a new chunk of an image may be stored against: what the parent snapshot holds at the same
 * offsets, and the known chunks that share most of its blocks.
 */
import type { DeltaBases, FindBases, Hooks, KnownBase, NewChunk } from "../../blobs/index.ts";
import type { BlobIndex } from "../../blob-index/index.ts";
import type { DeltaBase } from "../../format/index.ts";
import type { ParentImage } from "./parent-image.ts";

/** Likely ones cost a read each, and time to search them. */
const likestMost = 2;

export class BaseFinder {
  readonly #bases: DeltaBases;
  readonly #hooks: Hooks;
  readonly #index: Pick<BlobIndex, "lookupPrefix">;

  constructor(bases: DeltaBases, hooks: Hooks, index: Pick<BlobIndex, "lookupPrefix">) {
    this.#bases = bases;
    this.#hooks = hooks;
    this.#index = index;
  }

  /** @param segment  counts from 0 */
  forSegment(parent: ParentImage | undefined, segment: number): FindBases {
    return async (chunks) => {
      const before = await parent?.candidates(segment, chunks);
      const found: Promise<readonly KnownBase[]>[] = [];
      for (const [index, chunk] of chunks.entries()) {
        const candidates = [...(before?.[index] ?? []), ...(await this.#likest(chunk))];
        await this.#hooks.add(chunk.hooks, chunk.id);
        // Read while the next ones are looked for: most of a read is waiting.
        const known = this.#bases.known(candidates);
        known.catch(() => undefined); // reported below, in order
        found.push(known);
      }
      return Promise.all(found);
    };
  }

  async #likest({ hooks }: NewChunk): Promise<DeltaBase[]> {
    const prefixes = await this.#hooks.likest(hooks, likestMost);
    return prefixes.flatMap((prefix) => {
      const place = this.#index.lookupPrefix("data", prefix)[0];
      return place === undefined ? [] : [{ id: place.id }];
    });
  }
}
