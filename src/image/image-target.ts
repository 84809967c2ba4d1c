/** A disk to restore into: a file or block device that others write through its descriptor. */
import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fsyncSync,
  fstatSync,
  ftruncateSync,
  lstatSync,
  openSync,
  renameSync,
} from "node:fs";
import { dirname } from "node:path";

import { assert, FailedError } from "../errors.ts";
import { nameToBytes, printableName } from "../names.ts";
import { zeroInFile, zeroOnDevice } from "./zero-range.ts";

export interface ImageTargetState {
  readonly fd: number;
  /** Where the image will be found; as in src/names.ts. */
  readonly path: string;
  readonly size: number;
  readonly kind: "file" | "block";
  /** Nothing was ever written to it: it reads as zeros, so there is nothing to compare or to make zero. */
  readonly isNew: boolean;
  /** Its name until it is whole. */
  readonly partialPath?: string;
  /** The file of that path, whose place the whole one takes, with its owner and mode; closed with the target. */
  readonly replacedFd?: number;
}

/**
 * Has the image's size from the start, and no data where it is new. In any order: bytes are written through
 * `fd` at their offsets, ranges of zeros go to `zeroRange`; then `finish`, then `close`.
 *
 * Closed without `finish`, a new file stays under its partial name, and the next restore to the same path
 * goes on with it.
 */
export class ImageTarget implements Disposable {
  readonly fd: number;
  readonly path: string;
  readonly size: number;
  readonly kind: "file" | "block";
  readonly isNew: boolean;
  /** Its name until it is whole; undefined for what is written in place. */
  readonly partialPath: string | undefined;
  readonly #replacedFd: number | undefined;

  /** Also for a file that was opened inside a directory being restored; that one is not renamed. */
  constructor(state: ImageTargetState) {
    this.fd = state.fd;
    this.path = state.path;
    this.size = state.size;
    this.kind = state.kind;
    this.isNew = state.isNew;
    this.partialPath = state.partialPath;
    this.#replacedFd = state.replacedFd;
    if (this.kind === "file") ftruncateSync(this.fd, this.size);
  }

  /** Makes the range read as zeros, a hole where there can be one. */
  async zeroRange(offset: number, length: number): Promise<void> {
    assert(offset >= 0 && offset <= this.size, "offset within the image");
    const inside = Math.min(length, this.size - offset);
    if (this.isNew || inside <= 0) return;
    await (this.kind === "block" ? zeroOnDevice : zeroInFile)(this.fd, offset, inside);
  }

  /**
   * Takes off what was written past the end, and gives the file its name.
   *
   * @param options.fsync waits until all of it, the name too, would survive a loss of power
   */
  finish(options: { readonly fsync: boolean }): void {
    if (this.kind === "file" && fstatSync(this.fd).size !== this.size)
      ftruncateSync(this.fd, this.size);
    // Before the name: a file that bears it is whole.
    if (this.#replacedFd !== undefined) keepOwnerAndMode(this.#replacedFd, this.fd);
    if (options.fsync) fsyncSync(this.fd);
    if (this.partialPath === undefined) return;
    if (!this.#isAsFound()) {
      throw new FailedError(
        `Cannot finish ${printableName(this.path)}: a file of that name appeared meanwhile`,
        {
          hint: `The restored image is whole, and named ${printableName(this.partialPath)}`,
        },
      );
    }
    renameSync(nameToBytes(this.partialPath), nameToBytes(this.path));
    if (options.fsync) syncFolder(dirname(this.path));
  }

  close(): void {
    closeSync(this.fd);
    if (this.#replacedFd !== undefined) closeSync(this.#replacedFd);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** Nothing stands at the path but what is to be replaced. */
  #isAsFound(): boolean {
    const there = lstatSync(nameToBytes(this.path), { bigint: true, throwIfNoEntry: false });
    if (this.#replacedFd === undefined) return there === undefined;
    const replaced = fstatSync(this.#replacedFd, { bigint: true });
    return there === undefined || (there.dev === replaced.dev && there.ino === replaced.ino);
  }
}

function keepOwnerAndMode(from: number, to: number): void {
  const { uid, gid, mode } = fstatSync(from);
  const own = fstatSync(to);
  // Who may not give files away was only let in for files of their own.
  if (own.uid !== uid || own.gid !== gid) fchownSync(to, uid, gid);
  fchmodSync(to, mode & 0o7777);
}

function syncFolder(path: string): void {
  const fd = openSync(nameToBytes(path), constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
