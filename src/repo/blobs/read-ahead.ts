/**
 * Fetches the sealed bytes of many blobs with few requests, before they are asked for one by one.
 *
 * Blobs that are wanted, and the bases of their deltas, are sorted by pack and place as for a restore
 * (restore-plan.ts), and what lies near is one read. What cannot be had that way is not held: whoever
 * reads the blob then reads it singly, from any place, with the error that this gives.
 */
import type { BlobClass } from "../../crypto/index.ts";
import type { BlobIndex, BlobLocation } from "../blob-index/index.ts";
import { blobForm } from "../format/index.ts";
import { deltaClosure, plannedBlob } from "./delta-closure.ts";
import { Gate } from "./gate.ts";
import { readPackRange, type PackRangeContext } from "./pack-range.ts";
import {
  planJobs,
  planLimits,
  sortAndMerge,
  type PlannedBlob,
  type PlannedRange,
} from "./restore-plan.ts";

export interface ReadAheadContext extends PackRangeContext {
  readonly index: Pick<BlobIndex, "lookupPrefix" | "packInfo">;
  /** The place that a reader would try first. */
  readonly place: (cls: BlobClass, id: Uint8Array) => BlobLocation | undefined;
}

/** Blobs that lie near each other. */
export interface BlobGroup {
  /** In the order in which they lie. */
  readonly ids: readonly Uint8Array[];
  readonly ranges: readonly PlannedRange[];
}

/** Sealed bytes of a group; what lies between them may be as much again. */
const groupBytes = 4 * 1024 * 1024;
const groupMemoryBytes = 2 * groupBytes;
const groupBlobsMost = 512;
const readsInFlight = 16;

type Sealed = ReadonlyMap<string, Uint8Array>;

export class ReadAhead {
  readonly #context: ReadAheadContext;
  readonly #reads = new Gate(readsInFlight);
  readonly #spare: Uint8Array[] = [];
  /** One for each group that is held. */
  readonly #held = new Set<Sealed>();

  constructor(context: ReadAheadContext) {
    this.#context = context;
  }

  groups(cls: BlobClass, ids: readonly Uint8Array[]): BlobGroup[] {
    const wanted = ids.map((id) => ({ id, blobs: this.#needs(cls, id) }));
    wanted.sort(({ blobs: [a] }, { blobs: [b] }) =>
      a === undefined || b === undefined
        ? Number(a === undefined) - Number(b === undefined)
        : a.pack - b.pack || a.offset - b.offset,
    );
    const groups: BlobGroup[] = [];
    let members: Uint8Array[] = [];
    let places = new Map<string, PlannedBlob>();
    let bytes = 0;
    const close = (): void => {
      groups.push({ ids: members, ranges: this.#ranges([...places.values()]) });
      members = [];
      places = new Map();
      bytes = 0;
    };
    for (const { id, blobs } of wanted) {
      const more = blobs.filter((blob) => !places.has(placeOf(blob)));
      const moreBytes = more.reduce((sum, blob) => sum + blob.sealedLength, 0);
      const isFull = bytes + moreBytes > groupBytes || places.size >= groupBlobsMost;
      if (isFull && members.length > 0) close();
      for (const blob of isFull ? blobs : more) {
        const place = placeOf(blob);
        if (places.has(place)) continue;
        places.set(place, blob);
        bytes += blob.sealedLength;
      }
      members.push(id);
    }
    if (members.length > 0) close();
    return groups;
  }

  /** Reads a group's ranges; reads of its blobs find them until this is disposed of. */
  async hold({ ranges }: BlobGroup): Promise<Disposable> {
    const total = ranges.reduce((sum, { length }) => sum + length, 0);
    const memory = this.#memory(total);
    const held = new Map<string, Uint8Array>();
    let at = 0;
    await Promise.all(
      ranges.map(async ({ pack, offset, length, blobs }) => {
        const bytes = memory.subarray(at, (at += length));
        const name = this.#context.index.packInfo(pack).name;
        await this.#reads.enter();
        try {
          if (!(await readPackRange(this.#context, name, offset, bytes))) return;
        } finally {
          this.#reads.leave();
        }
        for (const blob of blobs) {
          const start = blob.offset - offset;
          held.set(placeOf(blob), bytes.subarray(start, start + blob.sealedLength));
        }
      }),
    );
    this.#held.add(held);
    return {
      [Symbol.dispose]: () => {
        this.#held.delete(held);
        if (memory.length === groupMemoryBytes) this.#spare.push(memory);
      },
    };
  }

  /** @returns the sealed bytes of what lies there, where they are held */
  find(location: BlobLocation): Uint8Array | undefined {
    const place = placeOf(location);
    for (const held of this.#held) {
      const sealed = held.get(place);
      if (sealed !== undefined) return sealed;
    }
    return undefined;
  }

  /** What is small, such as nodes, is not worth keeping for the next. */
  #memory(bytes: number): Uint8Array {
    if (bytes < groupBytes / 4 || bytes > groupMemoryBytes) return new Uint8Array(bytes);
    return this.#spare.pop() ?? new Uint8Array(groupMemoryBytes);
  }

  #needs(cls: BlobClass, id: Uint8Array): PlannedBlob[] {
    const location = this.#context.place(cls, id);
    if (location === undefined) return [];
    const blob = plannedBlob(id, location);
    if (location.form !== blobForm.delta) return [blob];
    return deltaClosure(this.#context.index, cls, blob, location) ?? [blob];
  }

  #ranges(blobs: PlannedBlob[]): PlannedRange[] {
    const sorted = sortAndMerge(blobs);
    const needsHeader = (pack: number): boolean =>
      !this.#context.secrets.has(this.#context.index.packInfo(pack).name);
    const limits = {
      jobBytes: groupMemoryBytes,
      rangesPerJob: groupBlobsMost,
      gapBytes: planLimits.gapBytes,
    };
    const jobs = [...planJobs(sorted, needsHeader, limits)];
    // Small blobs with much between them: memory is worth more than requests.
    const isSparse = jobs.length > 1;
    const chosen = isSparse ? [...planJobs(sorted, () => false, { ...limits, gapBytes: 0 })] : jobs;
    return chosen.flatMap(({ ranges }) => ranges);
  }
}

function placeOf({ pack, ordinal }: { readonly pack: number; readonly ordinal: number }): string {
  return `${pack} ${ordinal}`;
}
