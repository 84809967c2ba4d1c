/** Where a blob lies, and all that is needed to read it. */
import type { FreshTable } from "./fresh-table.ts";
import { blobBases } from "./pack-facts.ts";
import { idBytes, readU32, recordDepth, recordForm } from "./record.ts";
import { recordAt, type Run } from "./run.ts";

export interface BlobLocation {
  readonly id: Uint8Array;
  /** The pack's number in this process; `BlobIndex.packInfo` has its name. */
  readonly pack: number;
  readonly ordinal: number;
  readonly offset: number;
  readonly sealedLength: number;
  readonly plainLength: number;
  /** 0 raw, 1 zstd, 2 delta. */
  readonly form: number;
  readonly depth: number;
  /** The first 8 bytes of each base's id; empty but for deltas. */
  readonly basePrefixes: readonly Uint8Array[];
}

const deltaForm = 2;

export function freshLocation(fresh: FreshTable, slot: number): BlobLocation {
  const number = fresh.packAt(slot);
  const ordinal = fresh.ordinalAt(slot);
  const { pack, offsets } = fresh.pack(number);
  return {
    id: fresh.idAt(slot).slice(),
    pack: number,
    ordinal,
    offset: offsets[ordinal]!,
    sealedLength: pack.sealedLengths[ordinal]!,
    plainLength: pack.plainLengths[ordinal]!,
    form: pack.forms[ordinal]!,
    depth: pack.depths[ordinal]!,
    basePrefixes: blobBases(pack, ordinal),
  };
}

export function runLocation(run: Run, record: number, pack: number): BlobLocation {
  const { bucket } = run;
  const at = recordAt(record);
  return {
    id: bucket.slice(at, at + idBytes),
    pack,
    ordinal: bucket[at + 48]! | (bucket[at + 49]! << 8),
    offset: readU32(bucket, at + 36),
    sealedLength: readU32(bucket, at + 40),
    plainLength: readU32(bucket, at + 44),
    form: recordForm(bucket, at),
    depth: recordDepth(bucket, at),
    basePrefixes: run.basesOf(record),
  };
}

export function cheapest(locations: readonly BlobLocation[]): BlobLocation | undefined {
  let best = locations[0];
  for (const location of locations) if (cost(location) < cost(best!)) best = location;
  return best;
}

function cost({ form, depth }: BlobLocation): number {
  return form === deltaForm ? depth + 1 : 0;
}
