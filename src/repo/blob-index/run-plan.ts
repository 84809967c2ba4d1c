/** Which runs to merge: sizes stay apart by a factor, so there are few of them, and each record moves a few times only. */

const runCountMax = 6;
const sizeFactor = 3;
/** Below this, records of packs that are gone do not matter. */
const deadRecordsMin = 65_536;

export interface RunSize {
  readonly recordCount: number;
  /** Records whose pack still exists and counts in this run. */
  readonly liveCount: number;
}

/** @returns the places of the runs to be merged into one (a single one to be rid of its dead records), or none */
export function chooseRuns(runs: readonly RunSize[]): number[] {
  const order = runs
    .map((_, place) => place)
    .sort((a, b) => runs[a]!.liveCount - runs[b]!.liveCount);
  let smaller = 0;
  let merged = 0;
  for (const [rank, place] of order.entries()) {
    const { liveCount, recordCount } = runs[place]!;
    const isCrowded =
      rank > 0 && (liveCount <= sizeFactor * smaller || order.length - rank >= runCountMax);
    const isMostlyDead = recordCount - liveCount > Math.max(deadRecordsMin, liveCount);
    if (isCrowded || isMostlyDead) merged = rank + 1;
    smaller += liveCount;
  }
  return order.slice(0, merged);
}
