/** Which packs a check reads: all, one of t parts by name, or a share, oldest-verified first. Pure. */
import { UsageError } from "../../../errors.ts";

export type ReadSubset =
  | { readonly kind: "all" }
  /** Part `part` (from 1) of `of`: all parts together are all packs. */
  | { readonly kind: "part"; readonly part: number; readonly of: number }
  /** Of the packs' bytes, more than 0 and at most 1. */
  | { readonly kind: "share"; readonly share: number };

export interface ListedPack {
  readonly name: string;
  readonly size: number;
}

/** @param text  `5%`, `2.5%` or `n/t` */
export function parseReadSubset(text: string): ReadSubset {
  const percent = /^(\d+(?:\.\d+)?)%$/.exec(text);
  if (percent !== null) {
    const share = Number(percent[1]) / 100;
    if (share > 0 && share <= 1) return { kind: "share", share };
  }
  const fraction = /^(\d+)\/(\d+)$/.exec(text);
  if (fraction !== null) {
    const [part, of] = [Number(fraction[1]), Number(fraction[2])];
    if (part >= 1 && part <= of && of <= 65_536) return { kind: "part", part, of };
  }
  throw new UsageError(`Cannot read a subset "${text}": it is neither a percentage nor n/t`, {
    hint: "For example --read-data-subset 5% or --read-data-subset 1/7",
  });
}

/**
 * @param verifiedMs  when a pack was last read and found good
 * @param order  breaks ties among packs verified at the same time or never: a random number each
 */
export function planReading(
  packs: readonly ListedPack[],
  subset: ReadSubset,
  verifiedMs: ReadonlyMap<string, number>,
  order: (name: string) => number,
): ListedPack[] {
  switch (subset.kind) {
    case "all":
      return [...packs];
    case "part":
      // Names are hashes: their first digits spread packs evenly, and the same on every host.
      return packs.filter(
        ({ name }) => Number.parseInt(name.slice(0, 8), 16) % subset.of === subset.part - 1,
      );
    case "share":
      return oldestShare(packs, subset.share, verifiedMs, order);
  }
}

function oldestShare(
  packs: readonly ListedPack[],
  share: number,
  verifiedMs: ReadonlyMap<string, number>,
  order: (name: string) => number,
): ListedPack[] {
  const wanted = packs.reduce((sum, { size }) => sum + size, 0) * share;
  const keyed = packs.map((pack) => ({
    pack,
    verified: verifiedMs.get(pack.name) ?? -1,
    tie: order(pack.name),
  }));
  keyed.sort((a, b) => a.verified - b.verified || a.tie - b.tie);
  const chosen: ListedPack[] = [];
  let bytes = 0;
  for (const { pack } of keyed) {
    if (bytes >= wanted) break;
    chosen.push(pack);
    bytes += pack.size;
  }
  return chosen;
}
