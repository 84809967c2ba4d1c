/**
 * Opens a qcow2 file and all it stands on.
 *
 * An image may name any file of the host as its backing file, and a guest may have written the image:
 * so only files in the image's own folder, or below folders that the user named, are opened. Even those in
 * its own folder may be other guests' disks: only where it is certain that the file is no raw disk.
 */
import { closeSync, constants, fstatSync, openSync, readSync, realpathSync } from "node:fs";
import { dirname, resolve } from "node:path";

import { FailedError } from "../../errors.ts";
import { nameToBytes, printableName } from "../../names.ts";
import { blockDeviceSize, errnoCode, isLockedForWriting } from "../../posix/index.ts";
import { decodeBitmapDirectory, type StoredBitmap } from "./bitmap-directory.ts";
import { Qcow2Fault } from "./fault.ts";
import { decodeHeader, headerBytesMax, type Qcow2Header } from "./header.ts";
import { type Layer, Qcow2Layer, RawLayer, readWhole } from "./layer.ts";
import { decodeSnapshots, type InternalSnapshot, snapshotTableBytesMax } from "./snapshot-table.ts";

export interface Qcow2Chain {
  readonly header: Qcow2Header;
  /** The image first, then what it stands on. */
  readonly layers: readonly Layer[];
  /** All open files; the image's own is the first. */
  readonly fds: readonly number[];
  /** What the guest's view leaves out. */
  readonly snapshots: readonly InternalSnapshot[];
  readonly bitmaps: readonly StoredBitmap[];
}

const layerCountMax = 200;
const snapshotTableBytesRead = 16 << 20;

/**
 * @param fd  of the image, which is closed on failure; with the chain's others it is the caller's to close
 * @param backingDirs  folders below which backing and data files may lie
 * @param isCertain  that the file is a qcow2 file, and not a raw disk whose guest wrote a header into it: they
 *   may lie beside it, too
 * @throws {FailedError} that says what is wrong and what to do
 */
export function openChain(
  fd: number,
  path: string,
  backingDirs: readonly string[],
  isCertain: boolean,
): Qcow2Chain {
  const fds: number[] = [];
  try {
    return new ChainOpener(path, backingDirs, isCertain, fds).open(fd);
  } catch (error) {
    for (const open of fds) closeSync(open);
    throw error;
  }
}

class ChainOpener {
  readonly #path: string;
  readonly #backingDirs: readonly string[];
  readonly #isCertain: boolean;
  readonly #fds: number[];
  readonly #seen = new Set<string>();

  constructor(path: string, backingDirs: readonly string[], isCertain: boolean, fds: number[]) {
    this.#path = path;
    this.#isCertain = isCertain;
    this.#backingDirs = backingDirs.map((dir) => realPath(resolve(dir)) ?? resolve(dir));
    this.#fds = fds;
  }

  open(fd: number): Qcow2Chain {
    this.#fds.push(fd);
    const top = this.#qcow2(fd, this.#path);
    const layers: Layer[] = [top];
    for (let above = top; ;) {
      const { backing } = above.header;
      if (backing === undefined) break;
      if (layers.length === layerCountMax) throw this.#refusal(above.path, "its chain is too long");
      const path = this.#locate(above.path, backing.name, "backing file");
      const backingFd = this.#openFile(path);
      if (backing.format === "qcow2") above = this.#qcow2(backingFd, path);
      else if (backing.format !== "raw") throw this.#formatRefusal(above.path, backing);
      else {
        layers.push(new RawLayer(path, backingFd, fileBytes(backingFd)));
        break;
      }
      layers.push(above);
    }
    return { header: top.header, layers, fds: this.#fds, ...this.#extras(top) };
  }

  #qcow2(fd: number, path: string): Qcow2Layer {
    this.#checkNotSeen(fd, path);
    if (isLockedForWriting(fd)) {
      throw new FailedError(
        `Cannot read ${printableName(path)}: a running machine writes to it, and half of it is in the machine's memory`,
        {
          hint: "Back the machine up while it runs: ashlar backup --libvirt DOMAIN, or --qmp SOCKET; or stop it",
        },
      );
    }
    return this.#told(path, () => {
      const bytes = fileBytes(fd);
      const head = Buffer.alloc(Math.min(headerBytesMax, bytes));
      const header = decodeHeader(head.subarray(0, readUpTo(fd, head)), bytes);
      if (header.isEncrypted) throw new Qcow2Fault("it is encrypted", "unsupported");
      const file = { fd, bytes };
      return new Qcow2Layer(path, header, file, this.#dataFile(path, header) ?? file);
    });
  }

  #dataFile(path: string, { dataFile }: Qcow2Header): { fd: number; bytes: number } | undefined {
    if (dataFile === undefined) return undefined;
    const fd = this.#openFile(this.#locate(path, dataFile, "data file"));
    return { fd, bytes: fileBytes(fd) };
  }

  #extras(top: Qcow2Layer): Pick<Qcow2Chain, "snapshots" | "bitmaps"> {
    const { snapshotCount, snapshotsOffset, bitmaps } = top.header;
    return this.#told(top.path, () => {
      const bytes = fileBytes(top.fd);
      const tableBytes = Math.min(
        snapshotTableBytesMax(snapshotCount),
        Math.max(0, bytes - snapshotsOffset),
        snapshotTableBytesRead,
      );
      const directory = Buffer.alloc(bitmaps?.directory.count ?? 0);
      const table = Buffer.alloc(tableBytes);
      readWhole(top.fd, table, snapshotsOffset);
      readWhole(top.fd, directory, bitmaps?.directory.offset ?? 0);
      return {
        snapshots: decodeSnapshots(table, snapshotCount),
        bitmaps: decodeBitmapDirectory(directory, bitmaps?.count ?? 0),
      };
    });
  }

  /** The real path of a file that an image names, if it may be opened. */
  #locate(from: string, name: string, what: string): string {
    const plain = name.startsWith("file:") ? name.slice("file:".length) : name;
    const fault = `Cannot read ${printableName(from)}: its ${what} ${printableName(name)}`;
    if (/^[^/]*:/.test(plain)) {
      throw new FailedError(`${fault} is no plain path`, {
        hint: `Make one file of it: qemu-img convert -O qcow2 ${printableName(from)} NEW`,
      });
    }
    const folder = realPath(dirname(from)) ?? dirname(from);
    const path = realPath(resolve(folder, plain));
    if (path === undefined) throw new FailedError(`${fault} does not exist`);
    if (this.#backingDirs.some((dir) => isBelow(path, dir))) return path;
    const isBeside = dirname(path) === folder;
    if (isBeside && this.#isCertain) return path;
    if (isBeside) {
      throw new FailedError(
        `${fault} may be another guest's: ${printableName(from)} could be a raw disk whose guest wrote a qcow2 header into it`,
        {
          hint: `If it is a qcow2 file: let its name end with .qcow2, or say --backing-dir ${printableName(folder)}. If it is a raw disk: --no-image ${printableName(from)}`,
        },
      );
    }
    throw new FailedError(`${fault} lies elsewhere, at ${printableName(path)}`, {
      hint: `If it is to be read: --backing-dir ${printableName(dirname(path))}`,
    });
  }

  #openFile(path: string): number {
    let fd: number;
    try {
      // The path was resolved: a link there now was put in its place since.
      const flags = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW;
      fd = openSync(nameToBytes(path), flags);
    } catch (error) {
      throw new FailedError(
        `Cannot open ${printableName(path)}: ${errnoCode(error) ?? "it failed"}`,
        {
          cause: error,
        },
      );
    }
    this.#fds.push(fd);
    const stat = fstatSync(fd);
    if (!stat.isFile() && !stat.isBlockDevice())
      throw this.#refusal(path, "it is neither file nor block device");
    return fd;
  }

  #checkNotSeen(fd: number, path: string): void {
    const { dev, ino } = fstatSync(fd, { bigint: true });
    const identity = `${dev}:${ino}`;
    if (this.#seen.has(identity)) throw this.#refusal(path, "its backing files form a loop");
    this.#seen.add(identity);
  }

  #told<T>(path: string, read: () => T): T {
    try {
      return read();
    } catch (error) {
      throw error instanceof Qcow2Fault ? faultToFailure(path, error) : error;
    }
  }

  #refusal(path: string, reason: string): FailedError {
    return new FailedError(`Cannot read ${printableName(path)}: ${reason}`);
  }

  #formatRefusal(path: string, backing: NonNullable<Qcow2Header["backing"]>): FailedError {
    const { name, format } = backing;
    const rebase = `qemu-img rebase -u -b ${printableName(name)} -F raw|qcow2 ${printableName(path)}`;
    return format === undefined
      ? new FailedError(
          `Cannot read ${printableName(path)}: it does not say of which format its backing file is, and guessing would let a guest choose`,
          { hint: `Write it into the image: ${rebase}` },
        )
      : new FailedError(
          `Cannot read ${printableName(path)}: its backing file has format ${printableName(format)}`,
          { hint: `Make one file of it: qemu-img convert -O qcow2 ${printableName(path)} NEW` },
        );
  }
}

/** What to tell of a fault in an image's bytes. */
export function faultToFailure(path: string, fault: Qcow2Fault): FailedError {
  const name = printableName(path);
  const hints = {
    malformed: `Look at it with: qemu-img check ${name}`,
    damaged: `Repair it first: qemu-img check -r all ${name}`,
    unsupported: `Convert it: qemu-img convert -O qcow2 ${name} NEW`,
  } as const;
  return new FailedError(`Cannot read ${name} as qcow2: ${fault.message}`, {
    hint: hints[fault.kind],
    cause: fault,
  });
}

function isBelow(path: string, dir: string): boolean {
  return dir === "/" || path.startsWith(`${dir}/`);
}

function realPath(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    return undefined;
  }
}

export function fileBytes(fd: number): number {
  const stat = fstatSync(fd);
  return stat.isBlockDevice() ? blockDeviceSize(fd) : stat.size;
}

function readUpTo(fd: number, into: Buffer): number {
  let at = 0;
  for (let count = 1; at < into.length && count > 0; at += count)
    count = readSync(fd, into, at, into.length - at, at);
  return at;
}
