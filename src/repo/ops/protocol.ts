/**
 * What collectors and forgetters have written beside the index: marks, fences, verdicts, censuses and
 * forget records. Readers need it to know which packs and snapshots still count (R3, R6).
 */
import { objectIsKind } from "../../crypto/index.ts";
import {
  type Census,
  decodeCensus,
  decodeForgetRecord,
  decodeMark,
  decodeVerdict,
  type Fence,
  type ForgetRecord,
  type Mark,
  type Verdict,
} from "../format/index.ts";
import { mapConcurrent } from "../../async.ts";
import { CorruptionError } from "../../errors.ts";
import type { ObjectInfo } from "../../storage/index.ts";
import { type EarlyListing, objectsOf } from "./early-listing.ts";
import { KindCache } from "./kind-cache.ts";
import type { RecordCache } from "./record-cache.ts";
import type { Repository } from "./repository.ts";
import { openingKey, openingPrefixBytes, openRecord } from "./sealed-records.ts";

/** A record with the name of its object. */
export type Named<T> = T & { readonly name: string };

/** When it was put, by the storage's clock, where lists tell that. */
export type Stored<T> = Named<T> & { readonly storedMs?: number | undefined };

export interface Protocol {
  readonly marks: readonly Stored<Mark>[];
  readonly fences: readonly Named<Fence>[];
  readonly verdicts: readonly Named<Verdict>[];
  readonly censuses: readonly Named<Census>[];
  readonly forgets: readonly Named<ForgetRecord>[];
  /** Objects that no kind of record opens, or whose signature does not hold; `check` names them. */
  readonly damaged: readonly { readonly name: string; readonly error: Error }[];
}

const recordKinds = ["mark", "verdict", "census", "forget"] as const;
type ProtocolKind = (typeof recordKinds)[number];

interface ProtocolLists {
  readonly marks: Stored<Mark>[];
  readonly fences: Named<Fence>[];
  readonly verdicts: Named<Verdict>[];
  readonly censuses: Named<Census>[];
  readonly forgets: Named<ForgetRecord>[];
  readonly damaged: { name: string; error: Error }[];
}

const fetchesInFlight = 16;

/**
 * Lists index/ and reads what is not an index object there.
 *
 * @param kinds   which of them the caller needs; the others' bytes are not fetched
 * @param reader  a listing that is already there, and copies on this host
 */
export async function loadProtocol(
  repository: Repository,
  kinds: readonly ProtocolKind[] = recordKinds,
  reader?: { readonly early: EarlyListing; readonly cache: RecordCache | undefined },
): Promise<Protocol> {
  const protocol: ProtocolLists = {
    marks: [],
    fences: [],
    verdicts: [],
    censuses: [],
    forgets: [],
    damaged: [],
  };
  const cache = await KindCache.load(repository);
  const objects = await (reader?.early.index ?? objectsOf(repository.storage, "index"));
  const reads = mapConcurrent(objects, fetchesInFlight, async (info) => {
    const { name } = info;
    const kind = cache.get(name) ?? (await kindOf(repository, info));
    const isWanted = kind !== undefined && kind !== "index" && kinds.includes(kind);
    const stored = isWanted
      ? await (reader?.cache ?? repository.storage).get("index", name)
      : undefined; // or a collector has just removed it
    return { info, kind, stored };
  });
  for await (const { info, kind, stored } of reads) {
    const { name } = info;
    if (kind === undefined) continue;
    cache.set(name, kind);
    if (kind === "index" || stored === undefined) continue;
    try {
      await take(repository, protocol, kind, info, stored);
    } catch (error) {
      if (!(error instanceof CorruptionError)) throw error;
      protocol.damaged.push({ name, error });
    }
  }
  await cache.save();
  return protocol;
}

/** Packs that any mark names: they do not count as a place where a blob lies (R3, R4). */
export function hiddenPacks(protocol: Protocol): Set<string> {
  return new Set(protocol.marks.flatMap((mark) => mark.packs));
}

/**
 * Whether a snapshot of this session counts: a fenced session's does only if every collector that
 * fenced it, and came to a verdict on that mark, saw it. Before the verdict nothing is deleted, so
 * until then it counts (R6).
 */
export function snapshotCounts(
  protocol: Pick<Protocol, "fences" | "verdicts">,
  snapshotName: string,
  session: string,
): boolean {
  const fencing = protocol.fences.filter((fence) => fence.fenced.includes(session));
  return fencing.every((fence) => {
    // Every one: of two sweepers, each deletes on the strength of what it saw itself. Of a session
    // that a sweeper has not fenced its verdict says nothing: that one may have begun after its list.
    const verdicts = protocol.verdicts.filter(
      (verdict) => verdict.mark === fence.mark && verdict.session === fence.session,
    );
    return verdicts.every((verdict) => verdict.seenSnapshots.includes(snapshotName));
  });
}

async function kindOf(
  repository: Repository,
  { name, size }: ObjectInfo,
): Promise<ProtocolKind | "index" | undefined> {
  const prefix = await repository.storage.get("index", name, {
    offset: 0,
    length: Math.min(openingPrefixBytes, size),
  });
  if (prefix === undefined) return undefined;
  const context = { repoId: repository.id };
  try {
    const found = recordKinds.find((kind) =>
      objectIsKind(kind, prefix, openingKey(kind, repository.keys), context),
    );
    // What is no record is left to the index, which says when it cannot open it.
    return found ?? "index";
  } catch (error) {
    if (error instanceof CorruptionError) return "index";
    throw error;
  }
}

async function take(
  repository: Repository,
  protocol: ProtocolLists,
  kind: ProtocolKind,
  { name, storedMs }: ObjectInfo,
  stored: Uint8Array,
): Promise<void> {
  const registry = await repository.writerRegistry();
  const { body } = registry.verify(kind, openRecord(repository, kind, stored));
  if (kind === "verdict") protocol.verdicts.push({ name, ...decodeVerdict(body) });
  else if (kind === "census") protocol.censuses.push({ name, ...decodeCensus(body) });
  else if (kind === "forget") protocol.forgets.push({ name, ...decodeForgetRecord(body) });
  else {
    const record = decodeMark(body);
    if (record.record === "mark") protocol.marks.push({ name, storedMs, ...record });
    else protocol.fences.push({ name, ...record });
  }
}
