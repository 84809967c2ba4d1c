/** Entries of open directories without libc: by Node's own calls on /proc/self/fd/N/name, where N cannot be swapped. */
import * as fs from "node:fs";

import { atCwd } from "./at-interface.ts";
import type { AtCalls } from "./at-interface.ts";
import { statNs } from "./stat-ns.ts";
import { secondsOf } from "./times.ts";

export const procAt: AtCalls = {
  open: (dir, name, flags, mode) => fs.openSync(procPath(dir, name), flags, mode),
  mkdir: (dir, name, mode) => {
    fs.mkdirSync(procPath(dir, name), { mode });
  },
  symlink: (target, dir, name) => {
    fs.symlinkSync(target.subarray(0, -1), procPath(dir, name));
  },
  link: (fromDir, from, toDir, to) => {
    fs.linkSync(procPath(fromDir, from), procPath(toDir, to));
  },
  unlink: (dir, name) => {
    fs.unlinkSync(procPath(dir, name));
  },
  rmdir: (dir, name) => {
    fs.rmdirSync(procPath(dir, name));
  },
  rename: (fromDir, from, toDir, to) => {
    fs.renameSync(procPath(fromDir, from), procPath(toDir, to));
  },
  stat(dir, name) {
    const stat = fs.lstatSync(procPath(dir, name), { bigint: true, throwIfNoEntry: false });
    return stat && statNs(stat);
  },
  utimes: (dir, name, atimeNs, mtimeNs) => {
    fs.lutimesSync(procPath(dir, name), seconds(atimeNs), seconds(mtimeNs));
  },
  chown: (dir, name, uid, gid) => {
    fs.lchownSync(procPath(dir, name), uid, gid);
  },
};

/** @param name NUL-terminated */
export function procPath(dir: number, name: Buffer): Buffer {
  const bare = name.subarray(0, -1);
  return dir === atCwd ? bare : Buffer.concat([Buffer.from(`/proc/self/fd/${dir}/`), bare]);
}

/** As text, since Node takes a negative number for "now". */
function seconds(timeNs: bigint): string {
  return secondsOf(timeNs).toFixed(9);
}
