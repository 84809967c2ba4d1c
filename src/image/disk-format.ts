/** Files that are containers of a disk: their guest sees something else than their bytes. */
import { readSync } from "node:fs";
import { containerMagics } from "./magics.ts";

export interface DiskFormat {
  /** `qcow2` is read here; others are not. */
  readonly name: "qcow2" | "other";
  /** For people: "VMDK disk". */
  readonly title: string;
}

const headBytes = 512;

/** @returns undefined for a raw disk, for no disk at all, and for one whose head cannot be read */
export function diskFormat(fd: number): DiskFormat | undefined {
  const head = Buffer.alloc(headBytes);
  const bytes = readHead(fd, head);
  const found = containerMagics.find(
    ({ offset, bytes: magic }) =>
      offset + magic.length <= bytes && head.subarray(offset, offset + magic.length).equals(magic),
  );
  if (found === undefined) return undefined;
  return { name: found.name === "qcow2 disk" ? "qcow2" : "other", title: found.name };
}

function readHead(fd: number, head: Buffer): number {
  try {
    return readSync(fd, head, 0, head.length, 0);
  } catch {
    return 0; // whoever reads the whole meets the same error, and says so
  }
}
