/**
 * The system calls that Node lacks, bound by koffi at first use: a run that needs none of them loads
 * nothing.
 *
 * Where koffi or a symbol of libc does not load, the call throws ENOSYS and `posixCalls()` names it, so
 * that a run can say what it cannot keep.
 *
 * Variadic functions (fcntl, ioctl, openat) are declared with the arguments they are called with: on Linux the
 * calling conventions of x64, arm64 and riscv64 pass integers and pointers the same way in both.
 * All pointers are buffers that outlive the call; off_t and time_t have 64 bits on these systems.
 */
import { createRequire } from "node:module";
import { constants } from "node:os";

import { nameFromBytes } from "../names.ts";
import { PosixError } from "./posix-error.ts";

const prototypes = {
  fallocate: "int fallocate(int fd, int mode, int64_t offset, int64_t length)",
  fchownat: "int fchownat(int dir, const void *name, uint32_t uid, uint32_t gid, int flags)",
  fcntl: "int fcntl(int fd, int command, void *argument)",
  getgrgid_r: "int getgrgid_r(uint32_t gid, void *group, void *text, size_t size, void *result)",
  getgrnam_r:
    "int getgrnam_r(const void *name, void *group, void *text, size_t size, void *result)",
  getpwnam_r: "int getpwnam_r(const void *name, void *user, void *text, size_t size, void *result)",
  getpwuid_r: "int getpwuid_r(uint32_t uid, void *user, void *text, size_t size, void *result)",
  ioctl: "int ioctl(int fd, unsigned long request, void *argument)",
  lgetxattr: "int64_t lgetxattr(const void *path, const void *name, void *value, size_t size)",
  linkat: "int linkat(int fromDir, const void *from, int toDir, const void *to, int flags)",
  llistxattr: "int64_t llistxattr(const void *path, void *list, size_t size)",
  lremovexattr: "int lremovexattr(const void *path, const void *name)",
  lseek: "int64_t lseek(int fd, int64_t offset, int whence)",
  lsetxattr:
    "int lsetxattr(const void *path, const void *name, const void *value, size_t size, int flags)",
  mkdirat: "int mkdirat(int dir, const void *name, uint32_t mode)",
  mknodat: "int mknodat(int dir, const void *name, uint32_t mode, uint64_t device)",
  openat: "int openat(int dir, const void *name, int flags, uint32_t mode)",
  posix_fadvise: "int posix_fadvise(int fd, int64_t offset, int64_t length, int advice)",
  renameat: "int renameat(int fromDir, const void *from, int toDir, const void *to)",
  statx: "int statx(int dir, const void *name, int flags, uint32_t mask, void *stat)",
  symlinkat: "int symlinkat(const void *target, int dir, const void *name)",
  unlinkat: "int unlinkat(int dir, const void *name, int flags)",
  utimensat: "int utimensat(int dir, const void *name, const void *times, int flags)",
} as const;

export type CallName = keyof typeof prototypes;
type Argument = number | bigint | NodeJS.ArrayBufferView | null;
type Call = (...args: readonly Argument[]) => number;

/** The part of koffi used here. */
export interface Koffi {
  load(path: null): { func(prototype: string): Call };
  errno(): number;
  /** The NUL-terminated string that the pointer stored in `at` points to. */
  decode(at: NodeJS.ArrayBufferView, type: "const char *"): string | null;
}

interface Libc {
  readonly koffi: Koffi | undefined;
  readonly calls: Readonly<Record<CallName, Call>>;
  readonly missing: readonly CallName[];
  readonly reason: string | undefined;
}

let loaded: Libc | undefined;

function libc(): Libc {
  return (loaded ??= bind());
}

function bind(): Libc {
  const missing: CallName[] = [];
  let reason: string | undefined;
  const attempt = <T>(act: () => T): T | undefined => {
    try {
      return act();
    } catch (error) {
      reason ??= error instanceof Error ? error.message : String(error);
      return undefined;
    }
  };
  const koffi = attempt(() => createRequire(import.meta.url)("koffi") as Koffi);
  // The process itself: Node is linked to libc, be it glibc or musl.
  const self = attempt(() => koffi?.load(null));
  const bindCall = (name: CallName): Call => {
    const call = attempt(() => self?.func(prototypes[name]));
    if (call !== undefined) return call;
    missing.push(name);
    return () => {
      throw new PosixError(constants.errno.ENOSYS, name);
    };
  };
  const names = Object.keys(prototypes) as CallName[];
  const calls = Object.fromEntries(names.map((name) => [name, bindCall(name)])) as Record<
    CallName,
    Call
  >;
  return { koffi, calls, missing, reason };
}

/** What this system cannot do, for the user: names of calls, and why they did not load. */
export interface PosixCalls {
  readonly missing: readonly CallName[];
  readonly reason: string | undefined;
}

export function posixCalls(): PosixCalls {
  const { missing, reason } = libc();
  return { missing, reason };
}

export function hasCall(name: CallName): boolean {
  return !libc().missing.includes(name);
}

/** Calls and returns what the call returned, -1 and errno left to the caller; again when a signal came between. */
export function tryCall(name: CallName, ...args: readonly Argument[]): number {
  const call = libc().calls[name];
  for (;;) {
    const result = call(...args);
    if (result !== -1 || lastErrno() !== constants.errno.EINTR) return result;
  }
}

/** The errno of this thread's last call; to be read before anything else is called. */
export function lastErrno(): number {
  return libc().koffi?.errno() ?? constants.errno.ENOSYS;
}

/** As `tryCall`, but -1 is thrown as a `PosixError` about `path`. */
export function callOrThrow(
  name: CallName,
  path: Uint8Array | undefined,
  ...args: readonly Argument[]
): number {
  const result = tryCall(name, ...args);
  if (result === -1) throw new PosixError(lastErrno(), name, path && nameFromBytes(path));
  return result;
}

/** The string that the pointer at the start of `at` points to; the memory behind it must still be there. */
export function pointedString(at: NodeJS.ArrayBufferView): string {
  return libc().koffi?.decode(at, "const char *") ?? "";
}
