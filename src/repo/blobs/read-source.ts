/**
 * Fills a lane's memory from a file or a disk.
 *
 * What cannot be read is reported, never replaced by zeros: a disk with a bad sector, or one that
 * became shorter while it was read, must not look like one with holes.
 */
import fs from "node:fs";
import type { CutSource, ReadFault } from "./lane-messages.ts";

export interface Filled {
  readonly bytes: number;
  /** Of them, those that had to be read. */
  readonly readBytes: number;
  readonly isEnd: boolean;
  readonly fault?: ReadFault;
}

/** @param memory  at least as long as the source says it is */
export function fillSlot(memory: Uint8Array, source: CutSource): Filled {
  if ("bytes" in source) {
    memory.set(source.bytes);
    const bytes = source.bytes.length;
    return { bytes, readBytes: source.readBytes ?? bytes, isEnd: source.isEnd };
  }
  try {
    if ("places" in source) return readPlaces(memory.subarray(0, source.length), source.places);
    return source.extents === undefined
      ? readWhole(memory.subarray(0, source.length), source.fd, source.offset)
      : readExtents(memory.subarray(0, source.length), source.fd, source.offset, source.extents);
  } catch (error) {
    return { bytes: 0, readBytes: 0, isEnd: false, fault: faultOf(error) };
  }
}

function readWhole(into: Uint8Array, fd: number, offset: number): Filled {
  const bytes = readFully(fd, into, offset);
  return { bytes, readBytes: bytes, isEnd: bytes < into.length };
}

/** A file that ends within a place was cut short since: what a map named is no longer there. */
function readPlaces(into: Uint8Array, places: Float64Array): Filled {
  let at = 0;
  let readBytes = 0;
  for (let place = 0; place < places.length; place += 4) {
    const start = places[place]!;
    const end = start + places[place + 1]!;
    into.fill(0, at, start);
    const bytes = readFully(places[place + 2]!, into.subarray(start, end), places[place + 3]!);
    readBytes += bytes;
    if (bytes < end - start) return { bytes: start + bytes, readBytes, isEnd: true };
    at = end;
  }
  into.fill(0, at);
  return { bytes: into.length, readBytes, isEnd: false };
}

/** Pairs of offset and length; between them are holes. A file that ends within an extent ends there. */
function readExtents(into: Uint8Array, fd: number, offset: number, extents: Float64Array): Filled {
  let at = 0;
  let readBytes = 0;
  for (let pair = 0; pair < extents.length; pair += 2) {
    const start = extents[pair]!;
    const end = start + extents[pair + 1]!;
    into.fill(0, at, start);
    const bytes = readFully(fd, into.subarray(start, end), offset + start);
    readBytes += bytes;
    if (bytes < end - start) return { bytes: start + bytes, readBytes, isEnd: true };
    at = end;
  }
  into.fill(0, at);
  // A hole at the end is there only if its last byte is: the file may have been cut short since.
  const isThere =
    at === into.length || readFully(fd, into.subarray(-1), offset + into.length - 1) === 1;
  return isThere
    ? { bytes: into.length, readBytes, isEnd: false }
    : { bytes: at, readBytes, isEnd: true };
}

/** @returns bytes read: less than `into` holds only where the file ends */
function readFully(fd: number, into: Uint8Array, offset: number): number {
  let at = 0;
  while (at < into.length) {
    const count = fs.readSync(fd, into, at, into.length - at, offset + at);
    if (count === 0) break;
    at += count;
  }
  return at;
}

export function faultOf(error: unknown): ReadFault {
  const message = error instanceof Error ? error.message : String(error);
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return { errno: typeof code === "string" ? code : undefined, message };
}
