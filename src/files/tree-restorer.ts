/**
 * Brings a tree of files back below a target directory, entry by entry in the order of the walk.
 *
 * Names come from a snapshot and the target may hold anything, so nothing is ever looked up by a path: each
 * step goes from an open directory to one entry of it, symlinks not followed. New directories are closed to
 * others until they are done.
 *
 * Content is written by others: `openFile` hands out a descriptor, `finishFile` takes it back, in any order
 * and after the directory was left. A directory gets its metadata when it was left and all in it is done.
 */
import { closeSync, constants, fstatSync, ftruncateSync, mkdirSync } from "node:fs";

import { assert, FailedError } from "../errors.ts";
import type { FileMetadata } from "../file-metadata.ts";
import { nameToBytes, printableName } from "../names.ts";
import * as posix from "../posix/index.ts";
import { directorySubject, entrySubject, MetadataSetter } from "./apply-metadata.ts";
import { HardLinks } from "./hard-links.ts";
import type { LinkSource } from "./hard-links.ts";
import { openFileCountMax } from "./open-file-limit.ts";
import { DirectoryPool } from "./open-directory.ts";
import type { OpenDirectory } from "./open-directory.ts";
import { decideOverwrite } from "./overwrite.ts";
import type { OverwritePolicy } from "./overwrite.ts";
import { isRefusal, problem, ProblemTally, reasonOf } from "./problem.ts";
import type { FileProblem } from "./problem.ts";
import type { RestoredDirectory } from "./restored-directory.ts";
import { joinPath } from "./root-plan.ts";

export interface RestoreOptions {
  readonly overwrite: OverwritePolicy;
  /** Whether owners and devices can be expected to come back. */
  readonly isRoot: boolean;
  readonly onProblem: (problem: FileProblem) => void;
  /**
   * Whether an ordinary file that stands at the place is written over, rather than replaced by an empty
   * one: the caller then has to write its holes too, or finds out what is right already.
   */
  readonly reusesContent?: boolean;
}

/** A file waiting for its content. */
export interface RestoredFile {
  /** For reading and writing, at any offset; the file has its size already, new ones read as zeros. */
  readonly fd: number;
  readonly size: number;
  /** False: it may hold earlier content (`reusesContent`). */
  readonly isNew: boolean;
  readonly name: string;
  readonly path: string;
  readonly metadata: FileMetadata;
  readonly within: RestoredDirectory;
}

export type OpenFileResult =
  | { readonly kind: "write"; readonly file: RestoredFile }
  /** A hard link to a file that was opened before. */
  | { readonly kind: "linked" }
  /** What is there stays, by the policy. */
  | { readonly kind: "kept" }
  /** Told by `onProblem`. */
  | { readonly kind: "failed" };

type Placed = Exclude<OpenFileResult["kind"], "write"> | "create" | "reuse";

const writable = 0o700;

export class TreeRestorer {
  readonly #options: RestoreOptions;
  readonly #pool = new DirectoryPool();
  readonly #links = new HardLinks();
  readonly #tally = new ProblemTally();
  readonly #setter: MetadataSetter;
  readonly #openFiles = new Set<RestoredFile>();
  readonly openFileCountMax = openFileCountMax();
  /** The target was not there before. */
  readonly #hasMadeTarget: boolean;
  #at: RestoredDirectory;

  /** @param target is made with its parents where it is missing; symlinks in this path are followed */
  constructor(target: string, options: RestoreOptions) {
    this.#options = options;
    this.#setter = new MetadataSetter(this.#tally, options.isRoot);
    const { directory, isNew } = this.#openTarget(target);
    this.#hasMadeTarget = isNew;
    this.#at = {
      directory,
      parent: undefined,
      path: "/",
      metadata: undefined,
      modeBefore: undefined,
      pending: 1,
    };
  }

  get openFileCount(): number {
    return this.#openFiles.size;
  }

  /**
   * Makes the directory `name` where it is missing, and goes into it.
   *
   * @param metadata undefined for one that is only on the way: it is made, or left as it is
   * @returns false when it cannot be: all below it is to be passed over, and it is not to be left
   */
  enterDirectory(name: string, metadata: FileMetadata | undefined): boolean {
    const parent = this.#at;
    const path = joinPath(parent.path, name);
    const entered = this.#guard(path, "restore directory", () =>
      this.#placeDirectory(parent, name, path, metadata),
    );
    if (entered === undefined) return false;
    parent.pending++;
    this.#at = entered;
    return true;
  }

  leaveDirectory(): void {
    const left = this.#at;
    assert(left.parent !== undefined, "the target itself cannot be left");
    this.#at = left.parent;
    this.#settle(left);
  }

  /** The target as the directory that came into it, last of all; one that was there before keeps its own. */
  finishTarget(metadata: FileMetadata): void {
    const { directory, path, parent } = this.#at;
    assert(parent === undefined, "every directory below the target has been left");
    if (!this.#hasMadeTarget) return;
    this.#guard(path, "finish directory", () => {
      this.#setter.apply(directorySubject(directory, path), metadata);
    });
  }

  /** At most `openFileCountMax` files may be open. */
  openFile(name: string, metadata: FileMetadata): OpenFileResult {
    assert(metadata.type === "file", "only ordinary files have content");
    assert(this.#openFiles.size < this.openFileCountMax, "too many restored files are open");
    const path = joinPath(this.#at.path, name);
    const result = this.#guard(path, "restore file", (): OpenFileResult => {
      const placed = this.#place(name, path, metadata);
      if (placed !== "create" && placed !== "reuse") return { kind: placed };
      return { kind: "write", file: this.#open(name, path, metadata, placed === "create") };
    });
    return result ?? { kind: "failed" };
  }

  /** When all content is written: sets the metadata and closes the file. */
  finishFile(file: RestoredFile): void {
    const { within, name, path, fd, metadata } = file;
    this.#guard(path, "finish", () => {
      const there = posix.fstatatNs(within.directory.fd(), name);
      const { ino, dev } = fstatSync(fd, { bigint: true });
      const isSame = there?.inode === BigInt.asUintN(64, ino) && there.deviceId === dev;
      if (isSame) this.#setter.apply(entrySubject(within.directory, name, path, fd), metadata);
      else
        this.#options.onProblem(problem("replaced", path, "finish", "another file took its place"));
    });
    this.#close(file);
  }

  /** When content could not be written: the file keeps what it got, and a time that shows it is not whole. */
  abandonFile(file: RestoredFile): void {
    this.#links.drop(file.metadata);
    this.#close(file);
  }

  /** Symlinks, devices, fifos, sockets. */
  restoreOther(
    name: string,
    metadata: FileMetadata,
  ): "made" | Exclude<OpenFileResult["kind"], "write"> {
    const path = joinPath(this.#at.path, name);
    const result = this.#guard(path, `restore ${metadata.type}`, () => {
      const placed = this.#place(name, path, metadata);
      if (placed !== "create" && placed !== "reuse") return placed;
      this.#make(name, metadata);
      const { directory } = this.#at;
      this.#links.add(metadata, { directory, name });
      this.#setter.apply(entrySubject(directory, name, path), metadata);
      return "made";
    });
    return result ?? "failed";
  }

  /** Ends the restore, done or not; tells what was counted on the way. */
  close(): void {
    for (const file of this.#openFiles) closeSync(file.fd);
    this.#openFiles.clear();
    this.#pool.closeAll();
    for (const counted of this.#tally.all()) this.#options.onProblem(counted);
  }

  #openTarget(target: string): { readonly directory: OpenDirectory; readonly isNew: boolean } {
    try {
      const firstMade = mkdirSync(nameToBytes(target), { recursive: true });
      return { directory: this.#pool.openRoot(target), isNew: firstMade !== undefined };
    } catch (cause) {
      if (posix.errnoCode(cause) === undefined) throw cause;
      throw new FailedError(`Cannot restore into ${printableName(target)}: ${reasonOf(cause)}`, {
        cause,
      });
    }
  }

  #placeDirectory(
    parent: RestoredDirectory,
    name: string,
    path: string,
    metadata: FileMetadata | undefined,
  ): RestoredDirectory | undefined {
    const at = (): number => parent.directory.fd();
    const existing = posix.fstatatNs(at(), name);
    const { overwrite } = this.#options;
    const verdict = metadata && decideOverwrite(overwrite, existing, metadata);
    if (existing !== undefined && existing.type !== "dir") {
      if (verdict === "leave" || verdict === undefined)
        throw new FailedError(`a ${existing.type} is in the way`);
      posix.unlinkAt(at(), name);
    }
    const isNew = existing?.type !== "dir";
    // Who may look in is decided at the end; one that is only on the way gets the usual mode.
    if (isNew) posix.mkdirAt(at(), name, metadata === undefined ? 0o777 : writable);
    // Else an ordinary user could not write into a directory that was made read-only.
    const isShut = !isNew && !this.#options.isRoot && (existing.mode & writable) !== writable;
    if (isShut) posix.fchmodAt(at(), name, existing.mode | writable);
    const keeps = metadata === undefined || verdict === "leave";
    return {
      directory: parent.directory.child(name),
      parent,
      path,
      metadata: keeps ? undefined : metadata,
      modeBefore: keeps && isShut ? existing.mode : undefined,
      pending: 1,
    };
  }

  /** Something in the directory is done; when it was the last thing, so is the directory. */
  #settle(done: RestoredDirectory): void {
    for (
      let at: RestoredDirectory | undefined = done;
      at !== undefined && --at.pending === 0;
      at = at.parent
    ) {
      const { directory, path, metadata, modeBefore } = at;
      this.#guard(path, "finish directory", () => {
        const subject = directorySubject(directory, path);
        if (metadata !== undefined) this.#setter.apply(subject, metadata);
        else if (modeBefore !== undefined) subject.chmod(modeBefore);
      });
      this.#guard(path, "leave directory", () => {
        directory.close();
      });
    }
  }

  /** Makes room for an entry, or finds that there is nothing to do. */
  #place(name: string, path: string, metadata: FileMetadata): Placed {
    const { directory } = this.#at;
    const existing = posix.fstatatNs(directory.fd(), name);
    const verdict = decideOverwrite(this.#options.overwrite, existing, metadata);
    if (verdict === "leave") return "kept";
    const source = this.#links.find(metadata);
    if (source !== undefined) return this.#link(source, name, path, existing);
    if (verdict === "keep-content") {
      this.#links.add(metadata, { directory, name });
      this.#setter.apply(entrySubject(directory, name, path), metadata);
      return "kept";
    }
    // A file with other links may be one outside of the target.
    const isReusable =
      existing?.type === "file" && existing.links === 1 && metadata.type === "file";
    if (isReusable && this.#options.reusesContent === true) return "reuse";
    if (existing !== undefined) this.#remove(directory, name, existing.type);
    return "create";
  }

  /** Where the system refuses, the file gets content of its own. */
  #link(
    source: LinkSource,
    name: string,
    path: string,
    existing: posix.StatNs | undefined,
  ): Placed {
    const { directory } = this.#at;
    if (existing !== undefined) {
      const linked = posix.fstatatNs(source.directory.fd(), source.name);
      if (linked?.inode === existing.inode && linked.deviceId === existing.deviceId)
        return "linked";
      this.#remove(directory, name, existing.type);
    }
    try {
      posix.linkAt(source.directory.fd(), source.name, directory.fd(), name);
      return "linked";
    } catch (error) {
      if (!isRefusal(error)) throw error;
      const text = `Hard links were restored as files of their own: ${reasonOf(error)}`;
      this.#tally.add("metadata", path, text);
      return "create";
    }
  }

  #remove(directory: OpenDirectory, name: string, type: FileMetadata["type"]): void {
    if (type === "dir") posix.rmdirAt(directory.fd(), name);
    else posix.unlinkAt(directory.fd(), name);
  }

  #open(name: string, path: string, metadata: FileMetadata, isNew: boolean): RestoredFile {
    const within = this.#at;
    const { directory } = within;
    const flags =
      constants.O_RDWR | (isNew ? constants.O_CREAT | constants.O_EXCL : constants.O_NONBLOCK);
    const fd = posix.openFileAt(directory.fd(), name, flags, 0o600);
    try {
      assert(isNew || fstatSync(fd).isFile(), "a file to be reused is an ordinary one");
      ftruncateSync(fd, metadata.size);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    const file: RestoredFile = { fd, size: metadata.size, isNew, name, path, metadata, within };
    this.#links.add(metadata, { directory, name });
    this.#openFiles.add(file);
    within.pending++;
    return file;
  }

  #close(file: RestoredFile): void {
    assert(this.#openFiles.delete(file), "a restored file is closed once");
    this.#guard(file.path, "close", () => {
      closeSync(file.fd);
    });
    this.#settle(file.within);
  }

  #make(name: string, { type, linkTarget, rdev }: FileMetadata): void {
    const fd = this.#at.directory.fd();
    if (type === "symlink") posix.symlinkAt(linkTarget ?? "", fd, name);
    else posix.mknodAt(fd, name, type, 0o600, rdev);
  }

  /** @returns undefined when the system refused, which is told */
  #guard<T>(path: string, action: string, act: () => T): T | undefined {
    try {
      return act();
    } catch (error) {
      if (!isRefusal(error)) throw error;
      this.#options.onProblem(problem("not-restored", path, action, error));
      return undefined;
    }
  }
}
