/** Times as `struct timespec[2]`: whole seconds, rounded down, and nanoseconds from 0. */

const perSecond = 1_000_000_000n;
const timespecs = new BigInt64Array(4);

/** Access and modification time for utimensat; valid until the next call. */
export function encodeTimes(atimeNs: bigint, mtimeNs: bigint): BigInt64Array {
  [atimeNs, mtimeNs].forEach((time, index) => {
    const part = ((time % perSecond) + perSecond) % perSecond;
    timespecs[2 * index] = (time - part) / perSecond;
    timespecs[2 * index + 1] = part;
  });
  return timespecs;
}

/** For node:fs, which takes seconds: good to some 100 ns in this century. */
export function secondsOf(timeNs: bigint): number {
  const part = ((timeNs % perSecond) + perSecond) % perSecond;
  return Number((timeNs - part) / perSecond) + Number(part) / 1e9;
}
