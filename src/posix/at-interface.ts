/** What at-native.ts and at-proc.ts both do: one interface, two ways. */
import type { StatNs } from "./stat-ns.ts";

/** AT_FDCWD: paths are as for any other program. */
export const atCwd = -100;

/** An entry by its parent and NUL-terminated name; two ways to do each thing. */
export interface AtCalls {
  open(dir: number, name: Buffer, flags: number, mode: number): number;
  mkdir(dir: number, name: Buffer, mode: number): void;
  symlink(target: Buffer, dir: number, name: Buffer): void;
  link(fromDir: number, from: Buffer, toDir: number, to: Buffer): void;
  unlink(dir: number, name: Buffer): void;
  rmdir(dir: number, name: Buffer): void;
  rename(fromDir: number, from: Buffer, toDir: number, to: Buffer): void;
  stat(dir: number, name: Buffer): StatNs | undefined;
  utimes(dir: number, name: Buffer, atimeNs: bigint, mtimeNs: bigint): void;
  chown(dir: number, name: Buffer, uid: number, gid: number): void;
}
