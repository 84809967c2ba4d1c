/** A disk to back up: a file or block device, opened once and read by its descriptor from any thread. */
import { closeSync, constants, fstatSync, openSync, read } from "node:fs";
import { promisify } from "node:util";

import { assert, FailedError } from "../errors.ts";
import { nameToBytes, printableName } from "../names.ts";
import { blockDeviceSize, errnoCode, fadvise, statNs } from "../posix/index.ts";
import type { StatNs } from "../posix/index.ts";
import type { DiskSource, SegmentInput } from "./disk-source.ts";
import { imageSegments } from "./segments.ts";
import type { ImageSegment } from "./segments.ts";

/** Which state of which file this is. Of a block device nothing but the size tells that it was written to. */
export interface ImageIdentity {
  readonly size: number;
  readonly mtimeNs: bigint;
  readonly ctimeNs: bigint;
  readonly inode: bigint;
  readonly deviceId: bigint;
}

const readAt = promisify(read);

export class ImageSource implements Disposable, DiskSource {
  readonly fd: number;
  readonly path: string;
  readonly kind: "file" | "block";
  readonly size: number;
  readonly identity: ImageIdentity;

  constructor(fd: number, path: string, stat: StatNs) {
    this.fd = fd;
    this.path = path;
    this.kind = stat.type === "blockdev" ? "block" : "file";
    this.identity = identityOf(fd, stat);
    this.size = this.identity.size;
    assert(Number.isSafeInteger(this.size), `size of ${path}`);
  }

  /** All of the image in order; holes in pieces as long as they are, so that 16 TiB of nothing cost one call. */
  segments(segmentBytes: number): Iterable<ImageSegment> {
    return imageSegments(this.fd, this.size, segmentBytes, () => sizeOf(this.fd, statOf(this.fd)));
  }

  load({ offset, length, extents }: ImageSegment): SegmentInput {
    return { fd: this.fd, offset, length, ...(extents === undefined ? {} : { extents }) };
  }

  async read(offset: number, into: Uint8Array): Promise<number> {
    for (let at = 0; at < into.length;) {
      const { bytesRead } = await readAt(this.fd, into, at, into.length - at, offset + at);
      if (bytesRead === 0) throw new FailedError("it became shorter while it was read");
      at += bytesRead;
    }
    return into.length;
  }

  /**
   * Whether the file was written to, cut or grown since it was opened. A write within the clock tick of the
   * opening may go unseen, and of a block device only a change of its size is seen.
   */
  changedSince(): string | undefined {
    const now = identityOf(this.fd, statOf(this.fd));
    const isSame =
      now.size === this.size &&
      (this.kind === "block" ||
        (now.mtimeNs === this.identity.mtimeNs && now.ctimeNs === this.identity.ctimeNs));
    return isSame ? undefined : "changed while it was read";
  }

  close(): void {
    closeSync(this.fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/**
 * Opens an image for reading, access time untouched where that is permitted. Symlinks are followed.
 *
 * @param path as in src/names.ts
 * @throws {FailedError} when it is neither file nor block device; errors of node:fs as they are
 */
export function openImageSource(path: string): ImageSource {
  const fd = openQuietly(nameToBytes(path));
  try {
    const stat = statOf(fd);
    if (stat.type !== "file" && stat.type !== "blockdev") {
      throw new FailedError(
        `Cannot read ${printableName(path)} as an image: it is neither file nor block device`,
      );
    }
    const source = new ImageSource(fd, path, stat);
    fadvise(fd, 0, 0, "sequential");
    return source;
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function openQuietly(path: Buffer): number {
  // Without O_NONBLOCK a fifo put in the file's place would hold up the run for ever.
  const flags = constants.O_RDONLY | constants.O_NONBLOCK;
  try {
    return openSync(path, flags | constants.O_NOATIME);
  } catch (error) {
    // Only the owner and root may ask for it.
    if (errnoCode(error) !== "EPERM") throw error;
    return openSync(path, flags);
  }
}

function statOf(fd: number): StatNs {
  return statNs(fstatSync(fd, { bigint: true }));
}

function sizeOf(fd: number, stat: StatNs): number {
  return stat.type === "blockdev" ? blockDeviceSize(fd) : stat.size;
}

function identityOf(fd: number, stat: StatNs): ImageIdentity {
  const { mtimeNs, ctimeNs, inode, deviceId } = stat;
  return { size: sizeOf(fd, stat), mtimeNs, ctimeNs, inode, deviceId };
}
