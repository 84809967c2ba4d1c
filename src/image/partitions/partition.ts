/** What a disk's partition table says, in bytes; everything in it may have been written by a guest. */

export interface Partition {
  /** As systems number them: 1 to 4 and from 5 on (logical) in MBR tables. */
  readonly number: number;
  /** Only GPT has names. */
  readonly name?: string;
  /** A GUID in upper case, or an MBR type as `0x83`. */
  readonly type: string;
  readonly start: number;
  readonly length: number;
}

export interface PartitionTable {
  readonly kind: "gpt" | "mbr";
  readonly sectorBytes: number;
  /** By number. */
  readonly partitions: readonly Partition[];
  /** What is wrong with it, for people; what could be read stands in `partitions`. */
  readonly faults: readonly string[];
}

/** Reads up to `length` bytes; fewer only where the disk ends. */
export type ReadDisk = (offset: number, length: number) => Promise<Uint8Array>;
