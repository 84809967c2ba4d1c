/** `--read-data`: packs fetched one after another, the next while one is checked, and what is wrong with each. */
import { toHex } from "../../../bytes.ts";
import { mapConcurrent } from "../../../async.ts";
import { CorruptionError } from "../../../errors.ts";
import type { BlobIndex } from "../../blob-index/index.ts";
import { type IndexedPack, packHeaderBytes } from "../../format/index.ts";
import type { Repository } from "../repository.ts";
import { claimDigest, claimedPack, type IndexFacts } from "./index-facts.ts";
import type { DamagedEntry, OpenedPackBytes, PackChecker } from "./pack-check.ts";
import type { ListedPack } from "./read-plan.ts";

/** Packs in memory at a time: 64 MiB each at most. */
const packsInMemory = 2;

export interface PackVerdict {
  readonly pack: ListedPack;
  /** Undefined when it was deleted meanwhile. */
  readonly bytesRead: number | undefined;
  readonly faults: readonly string[];
  /** Writers whose claims the pack does not bear out; empty when the bytes themselves are hurt. */
  readonly liars: readonly string[];
  readonly blobCount: number;
  readonly damaged: readonly DamagedEntry[];
  readonly cls: "data" | "tree" | undefined;
}

export interface ReadContext {
  readonly repository: Repository;
  readonly index: Pick<BlobIndex, "objects">;
  readonly facts: IndexFacts;
  readonly checker: PackChecker;
  readonly signal?: AbortSignal | undefined;
}

export async function* readPacks(
  context: ReadContext,
  packs: readonly ListedPack[],
): AsyncGenerator<PackVerdict> {
  const { storage } = context.repository;
  const fetched = mapConcurrent(packs, packsInMemory, async (pack) => ({
    pack,
    bytes: await fetchPack(context, pack.name),
  }));
  for await (const { pack, bytes } of fetched) {
    const first = await verdictOf(context, pack, bytes);
    if (first.faults.length === 0 || first.bytesRead === undefined) yield first;
    // Bytes may be hurt on their way: what is damaged at the second look too is damaged there.
    else yield await verdictOf(context, pack, await storage.get("data", pack.name));
  }
}

function fetchPack(
  { repository, signal }: ReadContext,
  name: string,
): Promise<Uint8Array | undefined> {
  return repository.storage.get("data", name, undefined, { signal });
}

async function verdictOf(
  context: ReadContext,
  pack: ListedPack,
  bytes: Uint8Array | undefined,
): Promise<PackVerdict> {
  const claims = context.facts.of(pack.name);
  const nothing = { pack, liars: [], blobCount: claims[0]?.blobCount ?? 0, cls: claims[0]?.cls };
  if (bytes === undefined) return { ...nothing, bytesRead: undefined, faults: [], damaged: [] };
  const { checker } = context;
  const faults: string[] = [];
  if (!checker.hasItsName(pack.name, bytes)) faults.push("its bytes do not have its name");
  let opened: OpenedPackBytes;
  try {
    opened = checker.open(bytes);
  } catch (error) {
    faults.push(messageOf(error));
    const damaged = await allClaimed(context, pack.name);
    return { ...nothing, bytesRead: bytes.length, faults, damaged };
  }
  try {
    const footer = footerOf(checker, opened, pack.name, bytes, faults);
    const damaged: DamagedEntry[] = [];
    const liars: string[] = [];
    if (footer !== undefined) {
      damaged.push(...(await checker.damagedEntries(opened, bytes, footer)));
      if (damaged.length > 0) faults.push(describe(damaged));
    }
    const digest = footer === undefined ? undefined : claimDigest(footer);
    for (const claim of claims) {
      if (claim.digest === digest) continue;
      const claimed = await claimedPack(context.index, pack.name, claim);
      const wrong =
        claimed === undefined ? [] : await checker.damagedEntries(opened, bytes, claimed);
      damaged.push(...wrong);
      // With an intact footer the claim is false; without one it is all there is to go by.
      if (footer === undefined) {
        if (wrong.length > 0) faults.push(describe(wrong));
        continue;
      }
      liars.push(...claim.writers);
      faults.push(
        `the index says of it what is not so (${wrong.length} blobs are not there): signed by ${claim.writers.map(short).join(", ")}`,
      );
    }
    return {
      pack,
      bytesRead: bytes.length,
      faults,
      liars,
      blobCount: footer?.count ?? claims[0]?.blobCount ?? 0,
      damaged,
      cls: opened.cls,
    };
  } finally {
    opened.opener.wipe();
  }
}

function footerOf(
  checker: PackChecker,
  opened: OpenedPackBytes,
  name: string,
  bytes: Uint8Array,
  faults: string[],
): IndexedPack | undefined {
  try {
    return checker.footer(opened, name, bytes);
  } catch (error) {
    faults.push(messageOf(error));
    return undefined;
  }
}

/** Nothing of such a pack can be opened: all that is claimed of it is damaged. */
export async function allClaimed(
  { index, facts }: Pick<ReadContext, "index" | "facts">,
  name: string,
): Promise<DamagedEntry[]> {
  const damaged: DamagedEntry[] = [];
  for (const claim of facts.of(name)) {
    const pack = await claimedPack(index, name, claim);
    if (pack === undefined) continue;
    let offset = packHeaderBytes;
    for (let ordinal = 0; ordinal < pack.count; ordinal++) {
      const id = pack.ids.slice(ordinal * 32, ordinal * 32 + 32);
      damaged.push({ ordinal, id, offset, message: "its pack cannot be opened" });
      offset += pack.sealedLengths[ordinal]!;
    }
  }
  return damaged;
}

function describe(damaged: readonly DamagedEntry[]): string {
  const [first] = damaged;
  return `${damaged.length} of its blobs are damaged; first: ${toHex(first!.id).slice(0, 16)} at offset ${first!.offset}: ${first!.message}`;
}

function messageOf(error: unknown): string {
  if (!(error instanceof CorruptionError)) throw error;
  return error.message;
}

function short(writer: string): string {
  return writer.slice(0, 8);
}
