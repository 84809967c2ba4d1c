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

/** @returns undefined for a raw disk, or no disk at all */
export function diskFormat(fd: number): DiskFormat | undefined {
  const head = Buffer.alloc(headBytes);
  const bytes = readSync(fd, head, 0, headBytes, 0);
  const found = containerMagics.find(
    ({ offset, bytes: magic }) =>
      offset + magic.length <= bytes && head.subarray(offset, offset + magic.length).equals(magic),
  );
  if (found === undefined) return undefined;
  return { name: found.name === "qcow2 disk" ? "qcow2" : "other", title: found.name };
}
