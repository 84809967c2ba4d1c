/**
 * MBR: four entries of 16 bytes at 446 of the first sector, before 0x55 0xaa. An extended partition holds a
 * chain of such sectors: in each the first entry is a logical partition, counted from that sector, and the
 * second names the next sector, counted from the extended partition.
 *
 *   entry:  0 status (0x80 boots, else 0)  4 type  8 first sector u32  12 sectors u32
 */

export interface MbrEntry {
  readonly type: number;
  /** In sectors. */
  readonly first: number;
  readonly count: number;
}

const entriesOffset = 446;
const entryBytes = 16;
const signatureOffset = 510;

/** Where boot sectors of file systems have a name: their code lies where the entries would be. */
const fileSystems: readonly (readonly [number, string])[] = [
  [3, "NTFS    "],
  [3, "EXFAT   "],
  [54, "FAT1"],
  [82, "FAT32   "],
];
const extendedTypes: readonly number[] = [0x05, 0x0f, 0x85];
/** Stands for a whole GPT disk, before those who do not know GPT. */
export const protectiveType = 0xee;

/** @returns the four entries, unused ones too; undefined when this sector is something else */
export function decodeMbr(sector: Uint8Array): readonly MbrEntry[] | undefined {
  const bytes = Buffer.from(sector);
  if (bytes.length < 512 || bytes.readUInt16BE(signatureOffset) !== 0x55aa) return undefined;
  const isFileSystem = fileSystems.some(
    ([at, name]) => bytes.toString("latin1", at, at + name.length) === name,
  );
  if (isFileSystem) return undefined;
  const entries: MbrEntry[] = [];
  for (let at = entriesOffset; at < signatureOffset; at += entryBytes) {
    const status = bytes[at]!;
    if (status !== 0 && status !== 0x80) return undefined;
    const type = bytes[at + 4]!;
    entries.push({ type, first: bytes.readUInt32LE(at + 8), count: bytes.readUInt32LE(at + 12) });
  }
  return entries;
}

export function isUsed({ type, count }: MbrEntry): boolean {
  return type !== 0 && count > 0;
}

export function isExtended({ type }: MbrEntry): boolean {
  return extendedTypes.includes(type);
}

export function mbrTypeText(type: number): string {
  return `0x${type.toString(16).padStart(2, "0")}`;
}
