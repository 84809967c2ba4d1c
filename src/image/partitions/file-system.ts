/** Which file system begins at a place of a disk, by its magic bytes (those of blkid, util-linux). */
import type { ReadDisk } from "./partition.ts";

export type FileSystemKind =
  | "ext"
  | "xfs"
  | "btrfs"
  | "ntfs"
  | "exfat"
  | "vfat"
  | "iso9660"
  | "squashfs"
  | "luks"
  | "lvm"
  | "swap";

interface Magic {
  readonly kind: FileSystemKind;
  readonly offset: number;
  readonly bytes: string;
}

/** The first that fits counts. Bytes as Latin-1. */
const magics: readonly Magic[] = [
  { kind: "luks", offset: 0, bytes: "LUKS\xba\xbe" },
  { kind: "lvm", offset: 512, bytes: "LABELONE" },
  { kind: "xfs", offset: 0, bytes: "XFSB" },
  { kind: "squashfs", offset: 0, bytes: "hsqs" },
  { kind: "ntfs", offset: 3, bytes: "NTFS    " },
  { kind: "exfat", offset: 3, bytes: "EXFAT   " },
  { kind: "ext", offset: 1080, bytes: "\x53\xef" },
  { kind: "btrfs", offset: 65_600, bytes: "_BHRfS_M" },
  { kind: "iso9660", offset: 32_769, bytes: "CD001" },
  { kind: "swap", offset: 4086, bytes: "SWAPSPACE2" },
  { kind: "vfat", offset: 82, bytes: "FAT32   " },
  { kind: "vfat", offset: 54, bytes: "FAT1" },
];
const headBytes = 66_000;

/**
 * @param start, length  of the partition, or of the whole disk
 * @returns undefined where none is known
 */
export async function readFileSystemKind(
  start: number,
  length: number,
  read: ReadDisk,
): Promise<FileSystemKind | undefined> {
  const head = Buffer.from(await read(start, Math.min(length, headBytes)));
  const has = ({ offset, bytes }: Magic): boolean =>
    head.toString("latin1", offset, offset + bytes.length) === bytes;
  return magics.find(has)?.kind;
}
