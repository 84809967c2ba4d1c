/** Whether an answer is the one that was asked for. */
import { assert, BackendError, CorruptionError } from "../../errors.ts";
import { type ByteRange, objectText, type ObjectKind } from "../storage.ts";

/** No object is nearly as large: 64 MiB packs are the largest. */
const objectBytesMax = 256 * 1024 * 1024;

export function memoryFor(
  length: number | undefined,
  into: Uint8Array | undefined,
  what: string,
): Uint8Array {
  if (length === undefined || length > objectBytesMax) {
    const why = length === undefined ? "the server tells no size" : `it has ${length} bytes`;
    throw new BackendError(`Cannot read ${what}: ${why}`);
  }
  assert((into?.length ?? Infinity) >= length, "a buffer holds the object read into it");
  return into?.subarray(0, length) ?? new Uint8Array(length);
}

export function checkRange(
  contentRange: string | undefined,
  kind: ObjectKind,
  name: string,
  range: ByteRange,
): void {
  const match = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(contentRange ?? "");
  if (Number(match?.[1]) !== range.offset)
    throw new BackendError(
      `Cannot read ${objectText(kind, name)}: the server sent other bytes than were asked for`,
    );
  if (Number(match?.[2]) < range.offset + range.length - 1) throw endsBefore(kind, name, range);
}

export function endsBefore(
  kind: ObjectKind,
  name: string,
  { offset, length }: ByteRange,
): CorruptionError {
  return new CorruptionError(
    `Cannot read ${objectText(kind, name)}: it ends before byte ${offset + length}`,
    { hint: "See: ashlar check" },
  );
}
