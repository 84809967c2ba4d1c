/** What a system needs to bring a file back, beside its content. Shared by files (which reads and sets it) and repo/format (which stores it). */

export type FileType = "file" | "dir" | "symlink" | "chardev" | "blockdev" | "fifo" | "socket";

export interface ExtendedAttribute {
  /** With its namespace (`user.`, `security.`, `system.posix_acl_access`, …); see src/names.ts. */
  readonly name: string;
  readonly value: Uint8Array;
}

export interface FileMetadata {
  readonly type: FileType;
  /** The low 12 bits of st_mode. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Empty when the system knows no name. */
  readonly user: string;
  readonly group: string;
  /** Nanoseconds since the epoch, negative before it. */
  readonly mtimeNs: bigint;
  readonly atimeNs: bigint;
  readonly ctimeNs: bigint;
  /** Bytes of content; 0 for all but files. */
  readonly size: number;
  readonly inode: bigint;
  readonly deviceId: bigint;
  /** Hard links; files with the same (deviceId, inode) and more than one are one file. */
  readonly links: number;
  /** For chardev and blockdev. */
  readonly rdev?: { readonly major: number; readonly minor: number };
  /** For symlinks; see src/names.ts. */
  readonly linkTarget?: string;
  readonly xattrs: readonly ExtendedAttribute[];
}
