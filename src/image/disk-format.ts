/** Files that are containers of a disk: their guest sees something else than their bytes. */
import { readSync } from "node:fs";
import type { ForeignFormat } from "./foreign/foreign-format.ts";
import { containerMagics } from "./magics.ts";

export interface DiskFormat {
  /** `qcow2` is read here, others by QEMU. */
  readonly name: "qcow2" | ForeignFormat;
  /** For people: "VMDK disk". */
  readonly title: string;
}

const headBytes = 512;
const qcow2CryptOffset = 32;
const names: Readonly<Record<string, ForeignFormat>> = {
  "QED disk": "qed",
  "Parallels disk": "parallels",
  "VMDK disk": "vmdk",
  "VDI disk": "vdi",
  "VHDX disk": "vhdx",
  "VHD disk": "vhd",
};

/** @returns undefined for a raw disk, for no disk at all, and for one whose head cannot be read */
export function diskFormat(fd: number): DiskFormat | undefined {
  const head = Buffer.alloc(headBytes);
  const bytes = readHead(fd, head);
  const found = containerMagics.find(
    ({ offset, bytes: magic }) =>
      offset + magic.length <= bytes && head.subarray(offset, offset + magic.length).equals(magic),
  );
  if (found === undefined) return undefined;
  const foreign = names[found.name];
  if (foreign !== undefined) return { name: foreign, title: found.name };
  const isEncrypted = bytes >= qcow2CryptOffset + 4 && head.readUInt32BE(qcow2CryptOffset) !== 0;
  return isEncrypted
    ? { name: "encrypted qcow2", title: "encrypted qcow2 disk" }
    : { name: "qcow2", title: found.name };
}

function readHead(fd: number, head: Buffer): number {
  try {
    return readSync(fd, head, 0, head.length, 0);
  } catch {
    return 0; // whoever reads the whole meets the same error, and says so
  }
}
