/**
 * Sets owner, mode, extended attributes, ACLs and times of a restored entry, in the order in which one
 * does not undo another. What the system refuses is counted and told once, the rest goes on.
 *
 * - Changing the owner clears setuid, setgid and security.capability: it comes first.
 * - Attributes need a writable file, and an ACL that was inherited would change what the mode means: so
 *   they come before the mode. An ACL that is wanted loses nothing by it, since its mask is the mode's
 *   group bits.
 * - A directory may be out of reach once it has its mode: that comes last, and does not change the times.
 */
import { chmodSync, fchmodSync, lchownSync, lstatSync } from "node:fs";

import type { ExtendedAttribute, FileMetadata } from "../file-metadata.ts";
import { fchmodAt, listXattrs, pathAt, removeXattr, setXattr, utimesNs } from "../posix/index.ts";
import type { OpenDirectory } from "./open-directory.ts";
import { isRefusal, ProblemTally, reasonOf } from "./problem.ts";

/** How an entry is reached without following what may have taken its place. */
export interface Subject {
  /** A path whose last component is not to be followed. */
  readonly path: string | Buffer;
  readonly chmod: (mode: number) => void;
  /** In the snapshot, for people. */
  readonly shownPath: string;
}

const setuid = 0o4000;
const setgid = 0o2000;

export function directorySubject(directory: OpenDirectory, shownPath: string): Subject {
  const path = directory.path();
  return {
    path,
    shownPath,
    chmod: (mode) => {
      chmodSync(path, mode);
    },
  };
}

/** @param fd of the entry, when it is open */
export function entrySubject(
  directory: OpenDirectory,
  name: string,
  shownPath: string,
  fd?: number,
): Subject {
  const chmod = (mode: number): void => {
    if (fd === undefined) fchmodAt(directory.fd(), name, mode);
    else fchmodSync(fd, mode);
  };
  return { path: pathAt(directory.fd(), name), shownPath, chmod };
}

export class MetadataSetter {
  readonly #tally: ProblemTally;
  readonly #isRoot: boolean;

  constructor(tally: ProblemTally, isRoot: boolean) {
    this.#tally = tally;
    this.#isRoot = isRoot;
  }

  apply(subject: Subject, metadata: FileMetadata): void {
    const mode = this.#setOwner(subject, metadata);
    this.#removeOthers(subject, metadata.xattrs);
    for (const xattr of metadata.xattrs) this.#setXattr(subject, xattr);
    this.#attempt(subject, "Cannot set times", () => {
      utimesNs(subject.path, metadata.atimeNs, metadata.mtimeNs);
    });
    if (metadata.type === "symlink") return;
    this.#attempt(subject, "Cannot set permissions", () => {
      subject.chmod(mode);
    });
  }

  /** @returns the mode that goes with the owner it now has */
  #setOwner(subject: Subject, metadata: FileMetadata): number {
    const { uid, gid, mode, type } = metadata;
    const fault = chown(subject.path, uid, gid);
    if (fault === undefined) return mode;
    const reason = this.#isRoot ? reasonOf(fault) : "not running as root";
    this.#tally.add("metadata", subject.shownPath, `Owners could not be set: ${reason}`);
    if (type === "dir" || type === "symlink") return mode;
    // Whoever owns it now must not lend out rights that were another's to lend.
    const has = lstatSync(subject.path);
    const kept = mode & ~(has.uid === uid ? 0 : setuid) & ~(has.gid === gid ? 0 : setgid);
    if (kept !== mode) {
      this.#tally.add(
        "metadata",
        subject.shownPath,
        "Setuid and setgid bits were left out where the owner could not be set",
      );
    }
    return kept;
  }

  #removeOthers(subject: Subject, wanted: readonly ExtendedAttribute[]): void {
    this.#attempt(subject, "Cannot read extended attributes", () => {
      const names = new Set(wanted.map(({ name }) => name));
      for (const name of listXattrs(subject.path)) {
        if (names.has(name) || !isOurs(name)) continue;
        this.#attempt(subject, `Cannot remove extended attributes (${namespaceOf(name)})`, () => {
          removeXattr(subject.path, name);
        });
      }
    });
  }

  #setXattr(subject: Subject, { name, value }: ExtendedAttribute): void {
    const what = name.startsWith("system.posix_acl_")
      ? "ACLs"
      : `extended attributes (${namespaceOf(name)})`;
    this.#attempt(subject, `Cannot set ${what}`, () => {
      setXattr(subject.path, name, value);
    });
  }

  #attempt(subject: Subject, what: string, act: () => void): void {
    try {
      act();
    } catch (error) {
      if (!isRefusal(error)) throw error;
      this.#tally.add("metadata", subject.shownPath, `${what}: ${reasonOf(error)}`);
    }
  }
}

/** @returns why it could not be done, at least not in whole */
function chown(path: string | Buffer, uid: number, gid: number): unknown {
  try {
    lchownSync(path, uid, gid);
    return undefined;
  } catch (error) {
    const { uid: hasUid, gid: hasGid } = lstatSync(path);
    if (hasUid === uid && hasGid === gid) return undefined;
    try {
      // A user may give files to any group of theirs.
      if (hasGid !== gid) lchownSync(path, hasUid, gid);
      if (hasUid === uid) return undefined;
    } catch {
      // The first refusal says it.
    }
    return error;
  }
}

/** What a restored entry may not keep from what was there before; labels of the system's own are left to it. */
function isOurs(name: string): boolean {
  return /^(user|trusted)\.|^system\.posix_acl_|^security\.capability$/.test(name);
}

function namespaceOf(name: string): string {
  return name.slice(0, name.indexOf(".") + 1) + "*";
}
