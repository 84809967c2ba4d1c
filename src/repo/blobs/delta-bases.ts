/**
 * From candidates to bases: which known chunks a new one may be stored against, and their bytes.
 *
 * A base must lie somewhere in a form below the bound on depth, so that it can be read without
 * following a chain (R1); a candidate that is only there as a delta gives way to its own bases.
 */
import { CorruptionError } from "../../errors.ts";
import type { BlobIndex, BlobLocation } from "../blob-index/index.ts";
import type { BlobClass } from "../../crypto/index.ts";
import { deltaBaseCountMax, deltaDictionaryBytesMax, type DeltaBase } from "../format/index.ts";
import type { KnownBase } from "./choose-form.ts";

export interface DeltaBasesOptions {
  readonly index: Pick<BlobIndex, "lookup" | "lookupWhole" | "lookupPrefix">;
  /** Data unless said otherwise. */
  readonly cls?: BlobClass;
  /** Reads a blob's plain bytes and checks its id; undefined when they are not at hand. */
  readonly read: (id: Uint8Array) => Promise<Uint8Array | undefined>;
  /** 1: bases are never deltas themselves. */
  readonly depthMost: number;
}

export class DeltaBases {
  readonly #options: DeltaBasesOptions;

  constructor(options: DeltaBasesOptions) {
    this.#options = options;
  }

  /**
   * @param candidates  the likeliest last
   * @returns at most 4, the likeliest last, small enough for one dictionary; none that cannot be read
   */
  async known(candidates: readonly DeltaBase[]): Promise<KnownBase[]> {
    const bases: KnownBase[] = [];
    let dictionaryBytes = 0;
    for (const candidate of candidates.toReversed()) {
      for (const { base, location } of this.#stored(candidate)) {
        const bytes = sliceBytes(base, location.plainLength);
        const isKnown = bases.some(({ id }) => Buffer.compare(id, base.id) === 0);
        if (
          isKnown ||
          bases.length === deltaBaseCountMax ||
          dictionaryBytes + bytes > deltaDictionaryBytesMax
        )
          continue;
        const plain = await this.#read(base.id);
        if (plain === undefined) continue;
        dictionaryBytes += bytes;
        bases.push({ ...base, plain, depth: location.depth });
      }
    }
    return bases.reverse();
  }

  /** The candidate itself, or what it is a delta against. */
  #stored(candidate: DeltaBase): { base: DeltaBase; location: BlobLocation }[] {
    const { index, cls = "data" } = this.#options;
    const whole = index.lookupWhole(cls, candidate.id);
    if (whole !== undefined && this.#isShallow(whole))
      return [{ base: candidate, location: whole }];
    const prefixes = index.lookup(cls, candidate.id)?.basePrefixes ?? [];
    return prefixes.flatMap((prefix) => {
      const [base] = index.lookupPrefix(cls, prefix).flatMap(({ id }) => {
        const place = index.lookupWhole(cls, id);
        return place !== undefined && this.#isShallow(place) ? [place] : [];
      });
      return base === undefined ? [] : [{ base: { id: base.id }, location: base }];
    });
  }

  #isShallow({ depth }: BlobLocation): boolean {
    return depth < this.#options.depthMost;
  }

  /** A base that is damaged is not built upon; `check` is who reports it. */
  async #read(id: Uint8Array): Promise<Uint8Array | undefined> {
    try {
      return await this.#options.read(id);
    } catch (error) {
      if (error instanceof CorruptionError) return undefined;
      throw error;
    }
  }
}

function sliceBytes({ slice }: DeltaBase, plainLength: number): number {
  return slice === undefined ? plainLength : slice.lengthBlocks * 4096;
}
