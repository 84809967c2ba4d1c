/**
 * Directories held open, so that entries are looked up in the directory meant and not in whatever a path
 * leads to by now, and so that trees may be deeper than a path may be long.
 *
 * Only `limit` file descriptors are open at a time; a directory whose own was closed meanwhile is opened
 * again, by way of a child's `..` or down from an open ancestor, and must still be the same (device, inode).
 */
import { closeSync, constants, fstatSync, openSync } from "node:fs";

import { FailedError } from "../errors.ts";
import { nameToBytes } from "../names.ts";
import { openFileAt } from "../posix/index.ts";

/** linux/fcntl.h, not among Node's constants: a descriptor to look entries up in; needs no read permission. */
const oPath = 0o10000000;
const flags = oPath | constants.O_DIRECTORY;

export class DirectoryPool {
  /** The least recently used first. */
  readonly #open = new Set<OpenDirectory>();
  readonly #limit: number;

  /** @param limit at least 3: an operation may use two directories at once */
  constructor(limit = 64) {
    this.#limit = limit;
  }

  /** Opens by path, symlinks followed. It stays open until `closeAll`. */
  openRoot(path: string): OpenDirectory {
    let fd: number;
    try {
      fd = openSync("/proc/self/fd", flags);
    } catch (cause) {
      throw new FailedError("Cannot work on trees of files: /proc is not mounted", { cause });
    }
    closeSync(fd);
    fd = openSync(nameToBytes(path), flags);
    return new OpenDirectory(this, undefined, "", fd, true);
  }

  /** Notes a use; closes what was used least recently when too many are open. */
  touch(directory: OpenDirectory): void {
    this.#open.delete(directory);
    this.#open.add(directory);
    if (this.#open.size <= this.#limit) return;
    for (const other of this.#open) {
      if (other.parent === undefined) continue;
      other.release();
      return;
    }
  }

  forget(directory: OpenDirectory): void {
    this.#open.delete(directory);
  }

  closeAll(): void {
    for (const directory of this.#open) directory.release();
  }
}

export class OpenDirectory {
  readonly parent: OpenDirectory | undefined;
  readonly name: string;
  readonly #pool: DirectoryPool;
  readonly #follows: boolean;
  readonly #identity: string;
  #fd: number | undefined;

  constructor(
    pool: DirectoryPool,
    parent: OpenDirectory | undefined,
    name: string,
    fd: number,
    follows: boolean,
  ) {
    this.#pool = pool;
    this.parent = parent;
    this.name = name;
    this.#fd = fd;
    this.#follows = follows;
    this.#identity = identityOf(fd);
    pool.touch(this);
  }

  /** For use at once: opening other directories may close it. */
  fd(): number {
    const fd = this.#fd ?? this.#openAgain();
    this.#pool.touch(this);
    return fd;
  }

  /** A path to this very directory, whatever its name is by now; for use at once. */
  path(): string {
    return `/proc/self/fd/${this.fd()}/.`;
  }

  /** @param follows whether the child may be reached through a symlink */
  child(name: string, follows = false): OpenDirectory {
    return new OpenDirectory(this.#pool, this, name, openChild(this.fd(), name, follows), follows);
  }

  /** Done with it for now. Its parent is used next, so that is opened while it is one step away. */
  close(): void {
    if (this.#fd !== undefined) this.parent?.adoptFrom(this.#fd);
    this.release();
  }

  release(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
    this.#pool.forget(this);
  }

  /** Opens itself again as the parent of an open child, if it still is that. */
  adoptFrom(childFd: number): void {
    if (this.#fd !== undefined) return;
    const fd = openSync(`/proc/self/fd/${childFd}/..`, flags);
    if (identityOf(fd) !== this.#identity) {
      closeSync(fd);
      return;
    }
    this.#fd = fd;
    this.#pool.touch(this);
  }

  #openAgain(): number {
    const down: OpenDirectory[] = [];
    // eslint-disable-next-line @typescript-eslint/no-this-alias -- a walk up from here; recursion would be as deep as the tree
    let at: OpenDirectory = this;
    while (at.#fd === undefined && at.parent !== undefined) {
      down.push(at);
      at = at.parent;
    }
    let fd = at.#fd ?? lost(at.name);
    for (const directory of down.reverse()) {
      const next = openChild(fd, directory.name, directory.#follows);
      // Those on the way are only steps: keeping them would push others out.
      if (fd !== at.#fd) closeSync(fd);
      fd = next;
      if (identityOf(fd) === directory.#identity) continue;
      closeSync(fd);
      lost(directory.name);
    }
    this.#fd = fd;
    return fd;
  }
}

function openChild(parentFd: number, name: string, follows: boolean): number {
  if (!follows) return openFileAt(parentFd, name, flags);
  return openSync(
    Buffer.concat([Buffer.from(`/proc/self/fd/${parentFd}/`), nameToBytes(name)]),
    flags,
  );
}

function identityOf(fd: number): string {
  const { dev, ino } = fstatSync(fd, { bigint: true });
  return `${dev}:${ino}`;
}

function lost(name: string): never {
  throw new FailedError(
    `Cannot go back to directory ${JSON.stringify(name)}: it was moved or replaced`,
  );
}
