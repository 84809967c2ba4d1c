/** The partitions of a disk in a snapshot. */
import { type PartitionTable, readPartitionTable } from "../../image/index.ts";
import { CorruptionError } from "../../errors.ts";
import type { ImageReader } from "./image-reader.ts";

/** Header and entries of nearly every table: one read, where small ones in a row would begin a read-ahead. */
const headBytes = 32_768;

/** @returns undefined where there is no table, or its bytes are lost: `check` tells of those */
export async function partitionsOf(image: ImageReader): Promise<PartitionTable | undefined> {
  try {
    const head = await imageBytes(image, 0, headBytes);
    return await readPartitionTable(image.size, (offset, length) =>
      offset + length <= head.length
        ? Promise.resolve(head.subarray(offset, offset + length))
        : imageBytes(image, offset, length),
    );
  } catch (error) {
    if (error instanceof CorruptionError) return undefined;
    throw error;
  }
}

/** Up to `length` bytes, holes as zeros; fewer only where the image ends. @throws {CorruptionError} */
export async function imageBytes(
  image: ImageReader,
  offset: number,
  length: number,
): Promise<Uint8Array> {
  const end = Math.min(image.size, offset + length);
  const bytes = new Uint8Array(Math.max(0, end - offset));
  let at = 0;
  for (const part of end > offset ? await image.read(offset, end - offset) : []) {
    if (typeof part === "number") at += part;
    else {
      bytes.set(part, at);
      at += part.length;
    }
  }
  return bytes;
}
