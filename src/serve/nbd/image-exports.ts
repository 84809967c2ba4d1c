/** A snapshot's images as exports, each by its path and, where that is unique, by its last name. */
import { posix } from "node:path";
import { allocationFlag, baseAllocation, type NbdExport } from "../../nbd/index.ts";
import {
  type ChangedRange,
  ImageReader,
  listImages,
  type Repository,
  type StoredSnapshot,
} from "../../repo/ops/index.ts";

export interface ExportImagesOptions {
  readonly snapshot: StoredSnapshot;
  /** Only this image. */
  readonly path?: string | undefined;
  /** Adds the context `ashlar:changed/ID`: flag 1 where an image is not as it was in this snapshot. */
  readonly since?: StoredSnapshot | undefined;
}

export async function exportImages(
  repository: Repository,
  { snapshot, path, since }: ExportImagesOptions,
): Promise<NbdExport[]> {
  const paths = path === undefined ? await listImages(repository, snapshot) : [path];
  const names = paths.map((each) => posix.basename(each));
  const before = since === undefined ? [] : await listImages(repository, since);
  const exports: NbdExport[] = [];
  for (const [row, each] of paths.entries()) {
    const image = await ImageReader.open(repository, snapshot, each);
    const isUnique = names.indexOf(names[row]!) === names.lastIndexOf(names[row]!);
    const changed =
      since === undefined
        ? undefined
        : {
            context: `ashlar:changed/${since.id.slice(0, 8)}`,
            ranges: before.includes(each)
              ? await image.changedSince(await ImageReader.open(repository, since, each))
              : [{ offset: 0, length: image.size }],
          };
    exports.push({
      name: isUnique ? names[row]! : each,
      description: `${each} of ${snapshot.hostname}, ${snapshot.time}`,
      size: image.size,
      contexts: [baseAllocation, ...(changed === undefined ? [] : [changed.context])],
      read: (offset, length) => image.read(offset, length),
      async blockStatus(context, offset, length) {
        if (context !== baseAllocation)
          return changedExtents(changed?.ranges ?? [], offset, length);
        const holeFlags = allocationFlag.hole | allocationFlag.zero;
        const extents = await image.extents(offset, length);
        return extents.map((extent) => ({
          length: extent.length,
          flags: extent.isHole ? holeFlags : 0,
        }));
      },
    });
  }
  return exports;
}

function changedExtents(
  ranges: readonly ChangedRange[],
  offset: number,
  length: number,
): { length: number; flags: number }[] {
  const end = offset + length;
  const extents: { length: number; flags: number }[] = [];
  let at = offset;
  for (const range of ranges) {
    const from = Math.max(at, range.offset);
    const until = Math.min(end, range.offset + range.length);
    if (until <= from) continue;
    if (from > at) extents.push({ length: from - at, flags: 0 });
    extents.push({ length: until - from, flags: 1 });
    at = until;
    if (extents.length >= 4096) return extents;
  }
  if (at < end) extents.push({ length: end - at, flags: 0 });
  return extents;
}
