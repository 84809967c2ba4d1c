/** Entries of open directories by the *at calls of libc. */
import { constants } from "node:os";

import { nameFromBytes } from "../names.ts";
import type { AtCalls } from "./at-interface.ts";
import { callOrThrow, lastErrno, tryCall } from "./libc.ts";
import type { CallName } from "./libc.ts";
import { PosixError } from "./posix-error.ts";
import { decodeStatx, statxBytes, statxMask } from "./stat-ns.ts";
import { encodeTimes } from "./times.ts";

// fcntl.h
const symlinkNoFollow = 0x100;
const removeDir = 0x200;
/** Not among Node's constants, since it always adds it itself. */
const oCloseOnExec = 0o2000000;

const stat = new DataView(new ArrayBuffer(statxBytes));

export const nativeAt: AtCalls = {
  open: (dir, name, flags, mode) => act("openat", name, dir, name, flags | oCloseOnExec, mode),
  mkdir: (dir, name, mode) => void act("mkdirat", name, dir, name, mode),
  symlink: (target, dir, name) => void act("symlinkat", name, target, dir, name),
  link: (fromDir, from, toDir, to) => void act("linkat", to, fromDir, from, toDir, to, 0),
  unlink: (dir, name) => void act("unlinkat", name, dir, name, 0),
  rmdir: (dir, name) => void act("unlinkat", name, dir, name, removeDir),
  rename: (fromDir, from, toDir, to) => void act("renameat", to, fromDir, from, toDir, to),
  stat(dir, name) {
    if (tryCall("statx", dir, name, symlinkNoFollow, statxMask, stat) !== -1)
      return decodeStatx(stat);
    const errno = lastErrno();
    if (errno === constants.errno.ENOENT || errno === constants.errno.ENOTDIR) return undefined;
    throw new PosixError(errno, "statx", nameFromBytes(name.subarray(0, -1)));
  },
  utimes(dir, name, atimeNs, mtimeNs) {
    act("utimensat", name, dir, name, encodeTimes(atimeNs, mtimeNs), symlinkNoFollow);
  },
  chown: (dir, name, uid, gid) => void act("fchownat", name, dir, name, uid, gid, symlinkNoFollow),
};

function act(
  call: CallName,
  name: Buffer,
  ...args: readonly (number | NodeJS.ArrayBufferView)[]
): number {
  return callOrThrow(call, name.subarray(0, -1), ...args);
}
