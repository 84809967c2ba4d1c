/**
 * Scratch space: what the guest overwrites while it is backed up is kept there until it has been read.
 *
 * Where it is full, QEMU lets the guest's write fail. So it is watched, and the backup gives way first.
 */
import { statfsSync } from "node:fs";
import { FailedError } from "../errors.ts";

const lookEveryMs = 200;
const reserveBytesMin = 64 << 20;
const reserveBytesMax = 2 ** 30;

/** @throws {FailedError} when there is too little room to begin */
export function assertScratchRoom(folder: string): void {
  const { free, reserve } = room(folder);
  if (free >= 2 * reserve) return;
  throw new FailedError(
    `Cannot back up the machine: ${folder} has ${free} bytes free, and ${2 * reserve} are needed to begin`,
    { hint: "What the guest writes meanwhile is kept there: name a folder with room by --scratch" },
  );
}

/** @param act  is called once, when room is running out @returns a call that ends the watch */
export function watchScratch(folder: string, act: (error: FailedError) => void): () => void {
  const timer = setInterval(() => {
    const { free, reserve } = roomOrNone(folder);
    if (free >= reserve) return;
    clearInterval(timer);
    act(
      new FailedError(
        `Cannot go on with the machine: ${folder} has only ${free} bytes free; the backup was given up before the guest's writes could fail`,
        { hint: "Name a folder with more room by --scratch" },
      ),
    );
  }, lookEveryMs);
  timer.unref();
  return () => {
    clearInterval(timer);
  };
}

/** A folder that is gone has no room. */
function roomOrNone(folder: string): ReturnType<typeof room> {
  try {
    return room(folder);
  } catch {
    return { free: 0, reserve: 1 };
  }
}

/** A tenth of the file system, within limits: what a guest may write between two looks. */
function room(folder: string): { readonly free: number; readonly reserve: number } {
  const { bavail, blocks, bsize } = statfsSync(folder);
  const reserve = Math.min(Math.max((blocks * bsize) / 10, reserveBytesMin), reserveBytesMax);
  return { free: bavail * bsize, reserve };
}
