/**
 * System calls that Node lacks: holes, extended attributes, times in nanoseconds, device files, names of
 * owners, and acting inside an open directory whatever happens to the path that led there.
 *
 * All calls are synchronous and throw errors of Node's shape (`code`, `errno`, `syscall`, `path`). They
 * need koffi; where it does not load, each says in its docstring what it does instead, and `posixCalls()`
 * names what is missing. Nothing is loaded before the first call.
 */
export {
  fchmodAt,
  fchownAt,
  fstatatNs,
  linkAt,
  lstatNs,
  mkdirAt,
  mkfifo,
  mknod,
  mknodAt,
  openDirAt,
  openFileAt,
  pathAt,
  renameAt,
  rmdirAt,
  symlinkAt,
  unlinkAt,
  utimensAt,
  utimesNs,
} from "./at-calls.ts";
export type { BytePath } from "./c-string.ts";
export { makeDevice, splitDevice } from "./device-numbers.ts";
export type { DeviceNumber } from "./device-numbers.ts";
export { isLockedForWriting, lockFile } from "./file-lock.ts";
export { posixCalls } from "./libc.ts";
export type { PosixCalls } from "./libc.ts";
export { groupId, groupName, userId, userName } from "./owners.ts";
export { errnoCode, PosixError } from "./posix-error.ts";
export { isProcessAlive, processIdentity } from "./process-identity.ts";
export type { ProcessIdentity } from "./process-identity.ts";
export { blockDeviceSize, fadvise, punchHole, seekData, seekHole, zeroRange } from "./sparse.ts";
export { statNs } from "./stat-ns.ts";
export type { StatNs } from "./stat-ns.ts";
export { getXattr, listXattrs, readXattrs, removeXattr, setXattr } from "./xattr.ts";
