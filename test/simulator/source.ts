/**
 * What simulated hosts back up: tiny disks, the same bytes and the same metadata in every run, so that
 * object names follow from the seed alone. Only the walk over a real tree is replaced; the disks are
 * real files, written once for each content and read as any image is.
 */
import { hash } from "node:crypto";
import { existsSync, mkdirSync, openSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { FileMetadata } from "../../src/file-metadata.ts";
import type { SourceFile, WalkEvent } from "../../src/files/index.ts";

export const blockBytes = 4096;

export interface Source {
  readonly hostname: string;
  readonly disk: Uint8Array;
}

/** In memory where there is such a file system: nothing here must outlast the test. */
const root = existsSync("/dev/shm") ? "/dev/shm" : "/tmp";
export const workFolder = join(root, `ashlar-simulator-${process.pid}`);

const sources = new WeakMap<AbortSignal, Source>();

/** @returns the signal by which the walk of this run finds its source */
export function bindSource(signal: AbortSignal, source: Source): AbortSignal {
  sources.set(signal, source);
  return signal;
}

export function diskPath(hostname: string): string {
  return `/${hostname}/disk.img`;
}

/** Stands for `walk` of src/files, where the run has a simulated source. */
export async function* walkSource(signal: AbortSignal | undefined): AsyncGenerator<WalkEvent> {
  await Promise.resolve();
  const source = signal === undefined ? undefined : sources.get(signal);
  if (source === undefined) throw new Error("a simulated backup has no source");
  const { hostname, disk } = source;
  const file = metadata("file", disk);
  const path = diskPath(hostname);
  yield { kind: "enter", path: "/", name: "", metadata: metadata("dir"), isListed: true };
  yield {
    ...{ kind: "enter", path: `/${hostname}`, name: hostname },
    ...{ metadata: metadata("dir"), isListed: true },
  };
  yield {
    ...{ kind: "file", path, name: "disk.img", metadata: file },
    open: () => ({
      file: {
        fd: openDisk(disk),
        path,
        size: disk.length,
        metadata: file,
      } as unknown as SourceFile,
    }),
  };
  yield { kind: "leave", path: `/${hostname}`, name: hostname };
  yield { kind: "leave", path: "/", name: "" };
}

/** Times follow from the content: a disk that has not changed is not read again. */
function metadata(type: "file" | "dir", disk?: Uint8Array): FileMetadata {
  const version = disk === undefined ? 0n : BigInt(`0x${digest(disk).slice(0, 12)}`);
  return {
    ...{ type, mode: type === "file" ? 0o600 : 0o700, uid: 0, gid: 0, user: "", group: "" },
    ...{ mtimeNs: version, atimeNs: 0n, ctimeNs: version, size: disk?.length ?? 0 },
    ...{ inode: 1n, deviceId: 1n, links: 1, xattrs: [] },
  };
}

function openDisk(disk: Uint8Array): number {
  const path = join(workFolder, `disk-${digest(disk)}`);
  if (!existsSync(path)) {
    mkdirSync(workFolder, { recursive: true });
    writeFileSync(`${path}.new`, disk);
    renameSync(`${path}.new`, path);
  }
  return openSync(path, "r");
}

const digests = new WeakMap<Uint8Array, string>();

function digest(disk: Uint8Array): string {
  const known = digests.get(disk) ?? hash("sha256", disk);
  digests.set(disk, known);
  return known;
}

export function removeWorkFolder(): void {
  rmSync(workFolder, { recursive: true, force: true });
}
