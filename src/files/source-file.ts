/** An ordinary file opened for backup: surely the one that was listed, its holes known, changes noticed. */
import { closeSync, constants, fstatSync } from "node:fs";
import type { BigIntStats } from "node:fs";

import type { FileMetadata } from "../file-metadata.ts";
import { errnoCode, openFileAt, seekData, seekHole, statNs } from "../posix/index.ts";
import { refreshed } from "./entry-metadata.ts";
import type { OpenDirectory } from "./open-directory.ts";
import { problem } from "./problem.ts";
import type { FileProblem } from "./problem.ts";

/** A run inside a file, in bytes. */
export interface FileExtent {
  readonly offset: number;
  readonly length: number;
  readonly kind: "data" | "zero";
}

export type OpenedSource = { readonly file: SourceFile } | { readonly problem: FileProblem };

/** st_blocks counts in these, whatever the file system's own blocks. */
const statBlockBytes = 512n;

/** @param listed as the walk found it */
export function openSource(
  directory: OpenDirectory,
  name: string,
  path: string,
  listed: FileMetadata,
): OpenedSource {
  let fd: number;
  try {
    fd = openQuietly(directory, name);
  } catch (error) {
    const code = errnoCode(error);
    if (code === "ELOOP") return { problem: replaced(path) };
    return { problem: problem(code === "ENOENT" ? "vanished" : "unreadable", path, "open", error) };
  }
  const stat = fstatSync(fd, { bigint: true });
  const metadata = refreshed(listed, statNs(stat));
  const isListed =
    stat.isFile() && metadata.inode === listed.inode && metadata.deviceId === listed.deviceId;
  if (isListed) return { file: new SourceFile(fd, path, metadata, stat) };
  closeSync(fd);
  return { problem: replaced(path) };
}

export class SourceFile {
  /** Its position is moved by `extents`: read with offsets. */
  readonly fd: number;
  readonly path: string;
  /** As of the opening, which may be newer than the listing. */
  readonly metadata: FileMetadata;
  readonly #opened: BigIntStats;

  constructor(fd: number, path: string, metadata: FileMetadata, opened: BigIntStats) {
    this.fd = fd;
    this.path = path;
    this.metadata = metadata;
    this.#opened = opened;
  }

  get size(): number {
    return this.metadata.size;
  }

  /** Data and holes in order, without gaps, up to the size at opening. */
  *extents(): Generator<FileExtent> {
    const { size } = this;
    if (size === 0) return;
    if (this.#opened.blocks * statBlockBytes >= this.#opened.size) {
      yield { offset: 0, length: size, kind: "data" };
      return;
    }
    for (let at = 0; at < size;) {
      const data = Math.min(seekData(this.fd, at) ?? size, size);
      if (data > at) yield { offset: at, length: data - at, kind: "zero" };
      if (data === size) return;
      at = Math.min(seekHole(this.fd, data) ?? size, size);
      yield { offset: data, length: at - data, kind: "data" };
    }
  }

  /** To be asked after the last read: whether what was read may be a mixture of two states. */
  change(): FileProblem | undefined {
    const now = fstatSync(this.fd, { bigint: true });
    const before = this.#opened;
    if (now.size > before.size) return changed("grew", this.path, "it grew");
    if (now.size < before.size) return changed("shrank", this.path, "it shrank");
    const isSame = now.mtimeNs === before.mtimeNs && now.ctimeNs === before.ctimeNs;
    return isSame ? undefined : changed("changed", this.path, "it changed");
  }

  close(): void {
    closeSync(this.fd);
  }
}

/** Without a trace in the access time where that is allowed: to the owner and to root. */
function openQuietly(directory: OpenDirectory, name: string): number {
  // Should a fifo have taken the file's place, opening it must not wait for a writer.
  const flags = constants.O_RDONLY | constants.O_NONBLOCK;
  try {
    return openFileAt(directory.fd(), name, flags | constants.O_NOATIME);
  } catch (error) {
    if (errnoCode(error) !== "EPERM") throw error;
    return openFileAt(directory.fd(), name, flags);
  }
}

function replaced(path: string): FileProblem {
  return problem("replaced", path, "read", "another file took its place after it was listed");
}

function changed(kind: "grew" | "shrank" | "changed", path: string, how: string): FileProblem {
  return problem(kind, path, "read one state of", `${how} while it was read`);
}
