/**
 * What a new chunk of an image may be stored against: what the parent snapshot holds at the same
 * offsets, and the known chunks that share most of its blocks.
 */
import { fromHex, toHex } from "../../../bytes.ts";
import type {
  DeltaBases,
  FindBases,
  Hooks,
  KnownBase,
  Likeness,
  NewChunk,
} from "../../blobs/index.ts";
import type { BlobIndex } from "../../blob-index/index.ts";
import type { DeltaBase } from "../../format/index.ts";
import type { ParentImage } from "./parent-image.ts";

/** Likely ones cost a read each, and time to search them. */
const likestMost = 2;

export class BaseFinder {
  readonly #bases: DeltaBases;
  readonly #hooks: Hooks | undefined;
  readonly #index: Pick<BlobIndex, "lookupPrefix">;

  /** @param hooks  undefined: what stood there before is all that is tried */
  constructor(bases: DeltaBases, hooks: Hooks | undefined, index: Pick<BlobIndex, "lookupPrefix">) {
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
        const candidates = await this.#candidates(chunk, before?.[index] ?? []);
        await this.#hooks?.add(chunk.hooks, chunk.id);
        // Read while the next ones are looked for: most of a read is waiting.
        const known = this.#bases.known(candidates);
        known.catch(() => undefined); // reported below, in order
        found.push(known);
      }
      return Promise.all(found);
    };
  }

  /** What stood there before, unless other chunks share more blocks with this one; the likeliest last. */
  async #candidates(
    { hooks }: NewChunk,
    before: readonly DeltaBase[],
  ): Promise<readonly DeltaBase[]> {
    const likest = (await this.#hooks?.likest(hooks)) ?? [];
    const most = likest.at(-1)?.count ?? 0;
    const sharedBefore = Math.max(0, ...before.map(({ id }) => sharedWith(likest, id)));
    if (sharedBefore >= most) return before;
    // Sharing no block, what stood there is hardly worth a read: the most overlapping one is tried.
    const kept = sharedBefore === 0 ? before.slice(-1) : before;
    return [...kept, ...likest.slice(-likestMost).flatMap(({ prefix }) => this.#known(prefix))];
  }

  #known(prefix: string): DeltaBase[] {
    const place = this.#index.lookupPrefix("data", fromHex(prefix))[0];
    return place === undefined ? [] : [{ id: place.id }];
  }
}

function sharedWith(likest: readonly Likeness[], id: Uint8Array): number {
  const prefix = toHex(id.subarray(0, 8));
  return likest.find((chunk) => chunk.prefix === prefix)?.count ?? 0;
}
