/**
 * Plans which bytes of which packs a restore reads: pure.
 *
 * Blobs wanted are sorted by pack and offset; neighbours become one range where what lies between is
 * small, and ranges fill jobs of bounded memory. A delta's job holds the sealed bytes of its bases
 * too, so that one lane can finish it.
 */
import { packHeaderBytes } from "../format/index.ts";

export interface WriteTarget {
  readonly fd: number;
  readonly offset: number;
}

/** A blob at one of its places. */
export interface PlannedBlob {
  readonly id: Uint8Array;
  /** The index's number. */
  readonly pack: number;
  readonly ordinal: number;
  readonly offset: number;
  readonly sealedLength: number;
  readonly plainLength: number;
  readonly form: number;
  readonly depth: number;
  /** None for what is only needed as a base. */
  readonly targets: WriteTarget[];
  isBase: boolean;
}

export interface PlannedRange {
  readonly pack: number;
  readonly offset: number;
  length: number;
  readonly blobs: PlannedBlob[];
}

export interface PlannedJob {
  readonly ranges: PlannedRange[];
  bytes: number;
}

export interface PlanLimits {
  /** Memory of one job. */
  readonly jobBytes: number;
  readonly rangesPerJob: number;
  /** Bytes not needed that are read rather than asked for around. */
  readonly gapBytes: number;
}

export const planLimits: PlanLimits = {
  jobBytes: 8 * 1024 * 1024 + 64 * 1024,
  rangesPerJob: 32,
  gapBytes: 64 * 1024,
};

/** By pack and place; equal places become one blob with the targets of all. */
export function sortAndMerge(blobs: PlannedBlob[]): PlannedBlob[] {
  blobs.sort((a, b) => a.pack - b.pack || a.offset - b.offset);
  const merged: PlannedBlob[] = [];
  for (const blob of blobs) {
    const last = merged.at(-1);
    if (last?.pack === blob.pack && last.ordinal === blob.ordinal) {
      last.targets.push(...blob.targets);
      last.isBase ||= blob.isBase;
    } else merged.push(blob);
  }
  return merged;
}

/**
 * Jobs for blobs that need no bases.
 *
 * @param blobs          sorted and merged
 * @param needsHeader    whether a pack's header should be read along where that is cheap
 */
export function* planJobs(
  blobs: readonly PlannedBlob[],
  needsHeader: (pack: number) => boolean,
  limits: PlanLimits = planLimits,
): Generator<PlannedJob> {
  let job: PlannedJob = { ranges: [], bytes: 0 };
  for (const blob of blobs) {
    const range = job.ranges.at(-1);
    const end = blob.offset + blob.sealedLength;
    if (range?.pack === blob.pack) {
      const gap = blob.offset - (range.offset + range.length);
      const more = end - (range.offset + range.length);
      if (gap <= limits.gapBytes && job.bytes + more <= limits.jobBytes) {
        range.length += more;
        range.blobs.push(blob);
        job.bytes += more;
        continue;
      }
    }
    const next = rangeOf(blob, needsHeader(blob.pack) ? limits.gapBytes : 0);
    const isFull =
      job.ranges.length === limits.rangesPerJob || job.bytes + next.length > limits.jobBytes;
    if (isFull && job.ranges.length > 0) {
      yield job;
      job = { ranges: [], bytes: 0 };
    }
    job.ranges.push(next);
    job.bytes += next.length;
  }
  if (job.ranges.length > 0) yield job;
}

function rangeOf(blob: PlannedBlob, headerGapBytes: number): PlannedRange {
  const isNearHeader = blob.offset - packHeaderBytes < headerGapBytes;
  const offset = isNearHeader ? 0 : blob.offset;
  return {
    pack: blob.pack,
    offset,
    length: blob.offset + blob.sealedLength - offset,
    blobs: [blob],
  };
}

/** In which a job's blobs are opened: bases before what needs them. */
export function openingOrder(job: PlannedJob): PlannedBlob[] {
  const blobs = job.ranges.flatMap((range) => range.blobs);
  return blobs.some((blob) => blob.depth > 0) ? blobs.sort((a, b) => a.depth - b.depth) : blobs;
}

/**
 * Groups deltas with all they need into jobs.
 *
 * @param closures  each delta first, then its bases and theirs; one place may be in many
 */
export function* planDeltaJobs(
  closures: Iterable<readonly PlannedBlob[]>,
  limits: PlanLimits = planLimits,
): Generator<PlannedJob> {
  // A job's bases are held in the plain, so that it gets half of the sealed bytes of others.
  const sealedBytesMost = limits.jobBytes / 2;
  // Nothing is read beside what is needed, so that the sum of sealed bytes is the job's memory.
  const exact: PlanLimits = { ...limits, gapBytes: 0, rangesPerJob: Number.MAX_SAFE_INTEGER };
  const headerless = (): boolean => false;
  let group: PlannedBlob[] = [];
  let bytes = 0;
  for (const closure of closures) {
    const more = closure.reduce((sum, blob) => sum + blob.sealedLength, 0);
    if (bytes + more > sealedBytesMost && group.length > 0) {
      yield* planJobs(sortAndMerge(group), headerless, exact);
      group = [];
      bytes = 0;
    }
    group.push(...closure);
    bytes += more;
  }
  if (group.length > 0) yield* planJobs(sortAndMerge(group), headerless, exact);
}
