/**
 * Disk formats that QEMU reads for us, and what in their bytes would lead it to other files.
 *
 * A guest or whoever delivered the file may have written it, and QEMU opens what a format names: a parent
 * disk, extents, a data file. So those that name any are refused before QEMU sees them.
 */
import { decodeHeader, headerBytesMax } from "../qcow2/header.ts";
import { Qcow2Fault } from "../qcow2/fault.ts";

export type ForeignFormat =
  "vmdk" | "vdi" | "vhdx" | "vhd" | "qed" | "parallels" | "encrypted qcow2";

/** QEMU's names, where they are others. */
const drivers: Readonly<Partial<Record<ForeignFormat, string>>> = {
  vhd: "vpc",
  "encrypted qcow2": "qcow2",
};

/** How much of a file's start `nameOfOtherFile` looks at. */
export const foreignHeadBytes = headerBytesMax;
const vmdkCapacityOffset = 12;
const vmdkDescriptorOffset = 28;
/** So much of a descriptor QEMU looks at. */
const vmdkDescriptorBytes = 20 * 512;
const vhdTypeOffset = 60;
const vhdDynamic = 3;
const qedFeaturesOffset = 16;
const qedBackingFile = 1n;

export function qemuDriver(format: ForeignFormat): string {
  return drivers[format] ?? format;
}

/**
 * @param head  the file's beginning
 * @returns undefined when all of the disk is in the file, else what it names
 */
export function otherFile(
  format: ForeignFormat,
  head: Buffer,
  fileBytes: number,
): string | undefined {
  if (head.length < 512) return "nothing: it is cut off";
  switch (format) {
    case "vmdk":
      return vmdkOtherFile(head);
    case "vhd":
      return head.readUInt32BE(vhdTypeOffset) === vhdDynamic ? undefined : "a parent disk";
    case "qed":
      return (head.readBigUInt64LE(qedFeaturesOffset) & qedBackingFile) === 0n
        ? undefined
        : "a backing file";
    case "encrypted qcow2":
      return qcow2OtherFile(head, fileBytes);
    default:
      return undefined; // They name none, or QEMU refuses those that do.
  }
}

function vmdkOtherFile(head: Buffer): string | undefined {
  // Without a capacity of its own the file is a list of extents, which may be any file of the host.
  if (head.readBigUInt64LE(vmdkCapacityOffset) === 0n) return "the files that it consists of";
  const offset = head.readBigUInt64LE(vmdkDescriptorOffset) * 512n;
  if (offset + BigInt(vmdkDescriptorBytes) > BigInt(foreignHeadBytes))
    return "something behind its first 2 MiB";
  const start = Number(offset);
  const descriptor = head.toString("latin1", start, start + vmdkDescriptorBytes);
  return descriptor.includes("parentFileNameHint") ? "a parent disk" : undefined;
}

function qcow2OtherFile(head: Buffer, fileBytes: number): string | undefined {
  try {
    const { backing, dataFile } = decodeHeader(head, fileBytes);
    if (backing !== undefined) return "a backing file";
    return dataFile === undefined ? undefined : "a data file";
  } catch (error) {
    if (!(error instanceof Qcow2Fault)) throw error;
    return `nothing that can be told: ${error.message}`;
  }
}
