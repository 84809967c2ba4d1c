/** A blob and all that must be read before it can be opened, as a plan wants it. */
import type { BlobClass } from "../../crypto/index.ts";
import type { BlobIndex, BlobLocation } from "../blob-index/index.ts";
import { planLimits, type PlannedBlob, type WriteTarget } from "./restore-plan.ts";

const baseFormsMost = 64;

export function plannedBlob(
  id: Uint8Array,
  location: BlobLocation,
  targets: readonly WriteTarget[] = [],
): PlannedBlob {
  const { pack, ordinal, offset, sealedLength, plainLength, form, depth } = location;
  return {
    id,
    pack,
    ordinal,
    offset,
    sealedLength,
    plainLength,
    form,
    depth,
    targets: [...targets],
    isBase: false,
  };
}

/** @returns the blob first; undefined when that is more than a job holds, or not all is known */
export function deltaClosure(
  index: Pick<BlobIndex, "lookupPrefix">,
  cls: BlobClass,
  blob: PlannedBlob,
  location: BlobLocation,
): PlannedBlob[] | undefined {
  const closure = [blob];
  const pending = [location];
  let bytes = location.sealedLength;
  for (let form = pending.pop(); form !== undefined; form = pending.pop()) {
    const { depth } = form;
    for (const prefix of form.basePrefixes) {
      const bases = index.lookupPrefix(cls, prefix).filter((base) => base.depth < depth);
      if (bases.length === 0) return undefined;
      for (const base of bases) {
        bytes += base.sealedLength;
        if (closure.length === baseFormsMost || bytes > planLimits.jobBytes / 2) return undefined;
        closure.push({ ...plannedBlob(base.id, base), isBase: true });
        if (base.depth > 0) pending.push(base);
      }
    }
  }
  return closure;
}
