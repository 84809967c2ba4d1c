/** What disks and disk formats begin with, one constant each. */

export interface Magic {
  /** For the user: "ext2/3/4 file system". */
  readonly name: string;
  /** Bytes from the start of the file; from its end when negative. */
  readonly offset: number;
  readonly bytes: Buffer;
  /** For magics too short to be certain: more that must hold, given the start of the file. */
  readonly holds?: (head: Buffer) => boolean;
}

const latin1 = (text: string): Buffer => Buffer.from(text, "latin1");

/** ECMA-119 §8.1.2, volume descriptor at sector 16. */
const iso9660: Magic = { name: "ISO 9660 image", offset: 32769, bytes: latin1("CD001") };

/**
 * What is no image, whatever else it looks like: an ISO (hybrid ones have a partition table) has its files
 * at multiples of 2 KiB and never changes, so the cutter for streams suits it better.
 */
export const notImages: readonly Magic[] = [iso9660];

/** UEFI specification §5.3.2, in the second sector of 512 or 4096 bytes. */
const gpt: Magic = { name: "GPT partition table", offset: 512, bytes: latin1("EFI PART") };
const gpt4k: Magic = { ...gpt, offset: 4096 };

/** ext4 disk layout, super block at 1024: s_magic at 0x38. */
const ext: Magic = {
  name: "ext2/3/4 file system",
  offset: 1024 + 0x38,
  bytes: Buffer.of(0x53, 0xef),
  // s_inodes_count, s_blocks_count_lo; block size 1 KiB << 0..6.
  holds: (head) =>
    head.readUInt32LE(1024) > 0 &&
    head.readUInt32LE(1028) > 0 &&
    head.readUInt32LE(1024 + 0x18) <= 6,
};

/** XFS algorithms & data structures, superblock: sb_magicnum. */
const xfs: Magic = { name: "XFS file system", offset: 0, bytes: latin1("XFSB") };

/** btrfs on-disk format, superblock at 64 KiB: magic at 0x40. */
const btrfs: Magic = { name: "btrfs file system", offset: 0x10040, bytes: latin1("_BHRfS_M") };

/** linux/f2fs_fs.h, super block at 1024: F2FS_SUPER_MAGIC 0xF2F52010. */
const f2fs: Magic = {
  name: "F2FS file system",
  offset: 1024,
  bytes: Buffer.of(0x10, 0x20, 0xf5, 0xf2),
};

/** NTFS documentation, $Boot: OEM id. */
const ntfs: Magic = { name: "NTFS file system", offset: 3, bytes: latin1("NTFS    ") };

/** exFAT specification §3.1.2: FileSystemName. */
const exfat: Magic = { name: "exFAT file system", offset: 3, bytes: latin1("EXFAT   ") };

/** Microsoft FAT specification §3.1: BS_FilSysType, with the boot sector's signature. */
const fat32: Magic = {
  name: "FAT file system",
  offset: 82,
  bytes: latin1("FAT32   "),
  holds: hasBootSignature,
};
const fat16: Magic = {
  name: "FAT file system",
  offset: 54,
  bytes: latin1("FAT1"),
  holds: hasBootSignature,
};

/** lvm2, lib/format_text/layout.h: label in the second of the first four sectors. */
const lvm: Magic = { name: "LVM physical volume", offset: 512, bytes: latin1("LABELONE") };

/** LUKS1 and LUKS2 on-disk format: LUKS_MAGIC. */
const luks: Magic = {
  name: "LUKS volume",
  offset: 0,
  bytes: Buffer.of(0x4c, 0x55, 0x4b, 0x53, 0xba, 0xbe),
};

/** linux/raid/md_p.h: MD_SB_MAGIC 0xa92b4efc, version 1.2 at 4 KiB. */
const mdRaid: Magic = {
  name: "Linux RAID member",
  offset: 4096,
  bytes: Buffer.of(0xfc, 0x4e, 0x2b, 0xa9),
};

/** linux/swap.h: the last 10 bytes of the first page, of 4 or 64 KiB. */
const swap: Magic = { name: "Linux swap space", offset: 4086, bytes: latin1("SWAPSPACE2") };
const swap64k: Magic = { ...swap, offset: 65526 };

/** QEMU docs/interop/qcow2.rst, qed_spec.rst and parallels.rst. */
const qcow2: Magic = { name: "qcow2 disk", offset: 0, bytes: latin1("QFI\xfb") };
const qed: Magic = { name: "QED disk", offset: 0, bytes: latin1("QED\0") };
const parallels: Magic = { name: "Parallels disk", offset: 0, bytes: latin1("WithoutFreeSpace") };
const parallelsExt: Magic = { ...parallels, bytes: latin1("WithouFreSpacExt") };

/** VMware Virtual Disk Format 5.0, hosted sparse extent: SPARSE_MAGICNUMBER. */
const vmdk: Magic = { name: "VMDK disk", offset: 0, bytes: latin1("KDMV") };

/** VirtualBox VDICore.h: VDI_IMAGE_SIGNATURE 0xbeda107f. */
const vdi: Magic = { name: "VDI disk", offset: 64, bytes: Buffer.of(0x7f, 0x10, 0xda, 0xbe) };

/** MS-VHDX §2.2.1, file type identifier. */
const vhdx: Magic = { name: "VHDX disk", offset: 0, bytes: latin1("vhdxfile") };

/** Microsoft VHD specification: a footer of 512 bytes; dynamic disks have a copy of it in front. */
const vhd: Magic = { name: "VHD disk", offset: -512, bytes: latin1("conectix") };
const vhdDynamic: Magic = { ...vhd, offset: 0 };

/** The signature of a boot sector, and a partition table before it that could be one. */
const mbr: Magic = {
  name: "MBR partition table",
  offset: 510,
  bytes: Buffer.of(0x55, 0xaa),
  holds: hasPartition,
};

export const imageMagics: readonly Magic[] = [
  gpt,
  gpt4k,
  ext,
  xfs,
  btrfs,
  f2fs,
  ntfs,
  exfat,
  fat32,
  fat16,
  lvm,
  luks,
  mdRaid,
  swap,
  swap64k,
  qcow2,
  qed,
  parallels,
  parallelsExt,
  vmdk,
  vdi,
  vhdx,
  vhd,
  vhdDynamic,
  mbr,
];

/** Formats that hold a disk, known by their first bytes. */
export const containerMagics: readonly Magic[] = [
  qcow2,
  qed,
  parallels,
  parallelsExt,
  vmdk,
  vdi,
  vhdx,
  vhdDynamic,
];

/** How much of a file's start the magics reach into. */
export const headBytes = Math.max(
  ...[...imageMagics, ...notImages].map((magic) => magic.offset + magic.bytes.length),
);

function hasBootSignature(head: Buffer): boolean {
  return head[510] === 0x55 && head[511] === 0xaa;
}

/** Four entries of 16 bytes at 446: status 0 or 0x80, type at 4, sectors at 12; one at least in use. */
function hasPartition(head: Buffer): boolean {
  let used = 0;
  for (let at = 446; at < 510; at += 16) {
    if (head[at] !== 0 && head[at] !== 0x80) return false;
    if (head[at + 4] !== 0 && head.readUInt32LE(at + 12) > 0) used++;
  }
  return used > 0;
}
