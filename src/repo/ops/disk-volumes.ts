/** Where file systems lie in a disk image: in its partitions, or in the image as a whole. */
import { type FileSystemKind, type Partition, readFileSystemKind } from "../../image/index.ts";
import { imageBytes, partitionsOf } from "./disk-partitions.ts";
import type { ImageReader } from "./image-reader.ts";

export interface DiskVolume {
  /** Undefined for a disk without a partition table. */
  readonly partition: Partition | undefined;
  readonly start: number;
  readonly length: number;
  /** Undefined where no file system is known. */
  readonly fileSystem: FileSystemKind | undefined;
}

/** What a partition table says beyond the disk's end is left out. @throws {CorruptionError} */
export async function diskVolumes(image: ImageReader): Promise<DiskVolume[]> {
  const table = await partitionsOf(image);
  const places = table?.partitions.map((partition) => ({ ...partition, partition })) ?? [
    { start: 0, length: image.size, partition: undefined },
  ];
  const volumes: DiskVolume[] = [];
  for (const { start, length, partition } of places) {
    if (start >= image.size) continue;
    const inside = Math.min(length, image.size - start);
    const fileSystem = await readFileSystemKind(start, inside, (offset, bytes) =>
      imageBytes(image, offset, bytes),
    );
    volumes.push({ partition, start, length: inside, fileSystem });
  }
  return volumes;
}
