/**
 * What the index objects of a repository say of its packs, read from the storage and not from the
 * cache: a digest of each claim, and who signed it.
 */
import { createHash } from "node:crypto";
import { toHex } from "../../../bytes.ts";
import type { BlobIndex } from "../../blob-index/index.ts";
import { encodeIndexObject, type IndexedPack } from "../../format/index.ts";

export interface PackClaim {
  /** Equal digests claim the same. */
  readonly digest: string;
  readonly size: number;
  readonly cls: "data" | "tree";
  readonly blobCount: number;
  readonly writers: string[];
  /** Names of the index objects that say so. */
  readonly objects: string[];
}

export class IndexFacts {
  readonly #claims = new Map<string, PackClaim[]>();
  objectCount = 0;

  static async load(index: Pick<BlobIndex, "objects">): Promise<IndexFacts> {
    const facts = new IndexFacts();
    for await (const { name, object, writerId } of index.objects()) {
      facts.objectCount++;
      for (const pack of object.packs) facts.#add(pack, name, writerId);
    }
    return facts;
  }

  get packCount(): number {
    return this.#claims.size;
  }

  /** By pack; more than one only where index objects contradict each other. */
  get claims(): ReadonlyMap<string, readonly PackClaim[]> {
    return this.#claims;
  }

  of(pack: string): readonly PackClaim[] {
    return this.#claims.get(pack) ?? [];
  }

  writersOf(pack: string): string[] {
    return [...new Set(this.of(pack).flatMap(({ writers }) => writers))];
  }

  #add(pack: IndexedPack, object: string, writerId: string): void {
    const name = toHex(pack.name);
    const digest = claimDigest(pack);
    const claims = this.#claims.get(name) ?? [];
    if (claims.length === 0) this.#claims.set(name, claims);
    const known = claims.find((claim) => claim.digest === digest);
    if (known === undefined) {
      const { size, cls, count: blobCount } = pack;
      claims.push({ digest, size, cls, blobCount, writers: [writerId], objects: [object] });
      return;
    }
    known.objects.push(object);
    if (!known.writers.includes(writerId)) known.writers.push(writerId);
  }
}

/** Fetches a claim's entries again: they are too many to be kept for every pack. */
export async function claimedPack(
  index: Pick<BlobIndex, "objects">,
  name: string,
  claim: PackClaim,
): Promise<IndexedPack | undefined> {
  for await (const { object } of index.objects(new Set(claim.objects.slice(0, 1)))) {
    const pack = object.packs.find((candidate) => toHex(candidate.name) === name);
    if (pack !== undefined && claimDigest(pack) === claim.digest) return pack;
  }
  return undefined;
}

export function claimDigest(pack: IndexedPack): string {
  const bytes = encodeIndexObject({ replaces: [], session: undefined, packs: [pack] });
  return createHash("sha256").update(bytes).digest("base64").slice(0, 22);
}
