/** Forgetting snapshots by policy, or by name: a pure plan, then the signed record and the removal. */
import { FailedError, UsageError } from "../../errors.ts";
import {
  applyPolicy,
  type ForgetPolicy,
  type GroupKey,
  groupSnapshots,
  isEmptyPolicy,
  type PolicyDecision,
  type SnapshotGroup,
} from "./forget-policy.ts";
import type { Repository } from "./repository.ts";
import { loadStandings, type Standings } from "./standing.ts";
import { needsFullKey } from "./sealed-records.ts";
import {
  matchesFilter,
  readableSnapshots,
  removeSnapshots,
  resolveAmong,
  type SnapshotFilter,
  type StoredSnapshot,
} from "./snapshots.ts";

export interface ForgetOptions {
  /** Ids, prefixes of one each, or `latest`: forgotten whatever the policy. */
  readonly ids?: readonly string[] | undefined;
  readonly policy: ForgetPolicy;
  readonly groupBy: readonly GroupKey[];
  readonly filter?: SnapshotFilter | undefined;
  /** A policy may take a group's last snapshot. */
  readonly allowEmpty?: boolean | undefined;
  readonly dryRun?: boolean | undefined;
}

export interface ForgetGroup extends Omit<SnapshotGroup<StoredSnapshot>, "snapshots"> {
  /** The key that wrote them; only where others wrote snapshots of the same host and paths. */
  readonly key: string | undefined;
  /** Newest first. */
  readonly decisions: readonly PolicyDecision<StoredSnapshot>[];
}

export interface ForgetResult {
  readonly groups: readonly ForgetGroup[];
  readonly removed: readonly StoredSnapshot[];
}

/**
 * @throws {UsageError} without a policy and without ids
 * @throws {FailedError} when the policy would empty a group
 */
export async function forget(
  repository: Repository,
  options: ForgetOptions,
): Promise<ForgetResult> {
  if (repository.role !== "full") throw needsFullKey("Cannot forget snapshots");
  const all = await readableSnapshots(repository);
  const result = planForget(
    all,
    options,
    await loadStandings(repository),
    repository.environment.clock.now(),
  );
  if (options.dryRun !== true) await removeSnapshots(repository, result.removed);
  return result;
}

function planForget(
  all: readonly StoredSnapshot[],
  options: ForgetOptions,
  standings: Standings,
  nowMs: number,
): ForgetResult {
  const { ids = [], policy, groupBy, allowEmpty = false } = options;
  if (ids.length > 0)
    return {
      groups: [],
      removed: [...new Set(ids.map((id) => resolveAmong(all, id, options.filter, nowMs)))],
    };
  if (isEmptyPolicy(policy)) {
    throw new UsageError("Cannot forget: no policy and no snapshot was named", {
      hint: "Give --keep-daily 7 or the like, or ids of snapshots",
    });
  }
  const asked = all.filter((snapshot) => matchesFilter(snapshot, options.filter ?? {}));
  const standingOf = (snapshot: StoredSnapshot): string => standings.of(snapshot);
  const groups = groupSnapshots(asked, groupBy, standingOf).map(({ snapshots, ...group }) => ({
    ...group,
    key: group.standing === undefined ? undefined : standings.label(snapshots[0]!),
    decisions: applyPolicy(snapshots, policy, nowMs),
  }));
  const emptied = groups.find(({ decisions }) => decisions.every(({ keep }) => !keep));
  if (emptied !== undefined && !allowEmpty) {
    const whose = [emptied.hostname, ...(emptied.paths ?? [])]
      .filter((part) => part !== undefined)
      .join(" ");
    throw new FailedError(
      `Cannot forget: the policy keeps no snapshot of ${whose === "" ? "a group" : whose}`,
      {
        hint: "Keep at least one (--keep-last 1), or say --allow-empty",
      },
    );
  }
  const removed = groups.flatMap(({ decisions }) =>
    decisions.flatMap(({ keep, snapshot }) => (keep ? [] : [snapshot])),
  );
  return { groups, removed };
}
