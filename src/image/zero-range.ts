/** Making parts of an image read as zeros, as holes where that can be. */
import { writeSync } from "node:fs";
import { setImmediate } from "node:timers/promises";

import { punchHole, seekData, zeroRange } from "../posix/index.ts";

/** One call of the system at most, for other work to have its turn: terabytes take a while. */
const stepBytes = 1 << 30;
/** Block devices take ranges of whole logical blocks, of at most this. */
const alignBytes = 4096;
const zeros = Buffer.alloc(1 << 20);

/** Holes stay as they are; data in the range becomes a hole, or zeros on a file system without holes. */
export async function zeroInFile(fd: number, offset: number, length: number): Promise<void> {
  const end = offset + length;
  for (let at = offset; at < end;) {
    const data = seekData(fd, at);
    if (data === undefined || data >= end) return;
    const step = Math.min(stepBytes, end - data);
    if (!punchHole(fd, data, step) && !zeroRange(fd, data, step)) await writeZeros(fd, data, step);
    at = data + step;
    await setImmediate();
  }
}

/** Discarded where the device then promises zeros, written by the kernel or from here where not. */
export async function zeroOnDevice(fd: number, offset: number, length: number): Promise<void> {
  const end = offset + length;
  const first = Math.min(Math.ceil(offset / alignBytes) * alignBytes, end);
  const last = Math.max(Math.floor(end / alignBytes) * alignBytes, first);
  await writeZeros(fd, offset, first - offset);
  for (let at = first; at < last; at += stepBytes) {
    const step = Math.min(stepBytes, last - at);
    if (!punchHole(fd, at, step) && !zeroRange(fd, at, step)) await writeZeros(fd, at, step);
    await setImmediate();
  }
  await writeZeros(fd, last, end - last);
}

async function writeZeros(fd: number, offset: number, length: number): Promise<void> {
  for (let at = 0; at < length;) {
    at += writeSync(fd, zeros, 0, Math.min(zeros.length, length - at), offset + at);
    await setImmediate();
  }
}
