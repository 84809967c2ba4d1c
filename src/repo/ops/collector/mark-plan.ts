/** What to delete and what to repack: pure. */
import { UsageError } from "../../../errors.ts";
import { parseBytes } from "../../../sizes.ts";

export interface PackUse {
  readonly name: string;
  /** Stored bytes. */
  readonly size: number;
  readonly blobCount: number;
  /** Blobs in it that are kept, and their sealed bytes. */
  readonly usedCount: number;
  readonly usedBytes: number;
}

/** How much of what is stored may be unused before packs are repacked. */
export type UnusedLimit =
  | { readonly kind: "percent"; readonly percent: number }
  | { readonly kind: "bytes"; readonly bytes: number }
  | { readonly kind: "unlimited" };

/** `5%`, `200M` or `unlimited`. */
export function parseUnusedLimit(text: string): UnusedLimit {
  if (text === "unlimited") return { kind: "unlimited" };
  const percent = /^(\d{1,3}(?:\.\d{1,6})?)%$/.exec(text)?.[1];
  if (percent === undefined) return { kind: "bytes", bytes: parseBytes(text) };
  if (Number(percent) >= 100) {
    throw new UsageError(`Cannot leave ${text} of the repository unused: at most 99%`, {
      hint: 'To repack nothing say "unlimited"',
    });
  }
  return { kind: "percent", percent: Number(percent) };
}

export interface MarkPlan {
  /** Nothing in them is kept. */
  readonly unused: readonly PackUse[];
  /** Their kept blobs are copied first. */
  readonly repack: readonly PackUse[];
  readonly repackBytes: number;
  /** Unused bytes that stay in packs that are partly used. */
  readonly unusedBytesLeft: number;
}

/** @param packs  those that may be marked */
export function planMark(
  packs: Iterable<PackUse>,
  limits: { readonly maxUnused: UnusedLimit; readonly maxRepackBytes: number },
): MarkPlan {
  const unused: PackUse[] = [];
  const partly: PackUse[] = [];
  let usedBytes = 0;
  let unusedBytes = 0;
  for (const pack of packs) {
    usedBytes += pack.usedBytes;
    if (pack.usedCount === 0) unused.push(pack);
    else if (pack.usedCount < pack.blobCount) {
      partly.push(pack);
      unusedBytes += unusedOf(pack);
    }
  }
  const most = mostUnused(limits.maxUnused, usedBytes);
  partly.sort((a, b) => unusedOf(b) / b.size - unusedOf(a) / a.size);
  const repack: PackUse[] = [];
  let repackBytes = 0;
  for (const pack of partly) {
    if (unusedBytes <= most) break;
    if (repackBytes + pack.usedBytes > limits.maxRepackBytes) continue;
    repack.push(pack);
    repackBytes += pack.usedBytes;
    unusedBytes -= unusedOf(pack);
  }
  return { unused, repack, repackBytes, unusedBytesLeft: unusedBytes };
}

function unusedOf({ size, usedBytes }: PackUse): number {
  return Math.max(0, size - usedBytes);
}

/** Percent of what the repository would then hold, as in restic. */
function mostUnused(limit: UnusedLimit, usedBytes: number): number {
  switch (limit.kind) {
    case "percent":
      return (limit.percent / (100 - limit.percent)) * usedBytes;
    case "bytes":
      return limit.bytes;
    case "unlimited":
      return Infinity;
  }
}
