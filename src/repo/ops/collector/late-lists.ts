/**
 * Storage that cannot put if absent may list late as well: what was put shows after a while. No list lags
 * for a week, so there nothing that a list left out is taken for absent before.
 */
import type { Repository } from "../repository.ts";

const weekMs = 7 * 24 * 3_600_000;

/** How long marks stay: a week where lists may lag, unless none at all was asked for. */
export function safeGrace({ storage, environment }: Repository, graceMs: number): number {
  if (storage.traits.conditionalPut || graceMs >= weekMs) return graceMs;
  if (graceMs > 0) {
    environment.note("This storage has no conditional put: what is marked stays for 7 days");
    return weekMs;
  }
  environment.warn(
    "This storage has no conditional put, and its lists may lag: prune it without a grace only while nothing else is at work, and from one host",
  );
  return graceMs;
}

/**
 * How long a session that seems dead counts as alive: it may have committed, and neither its end nor its
 * snapshot show yet. 0 where lists do not lag.
 */
export function settlingMs({ storage }: Repository, graceMs: number): number {
  return storage.traits.conditionalPut || graceMs === 0 ? 0 : weekMs;
}
