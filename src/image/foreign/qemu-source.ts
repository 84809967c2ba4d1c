/** A disk in a format that QEMU reads for us, as its guest sees it. */
import { closeSync, fstatSync } from "node:fs";

import { FailedError, StoreError } from "../../errors.ts";
import { printableName } from "../../names.ts";
import { isLockedForWriting } from "../../posix/index.ts";
import type { DiskSource, SegmentInput } from "../disk-source.ts";
import { NbdSource } from "../nbd-source.ts";
import { readWhole } from "../qcow2/layer.ts";
import type { ImageSegment } from "../segments.ts";
import { type ForeignFormat, foreignHeadBytes, otherFile, qemuDriver } from "./foreign-format.ts";
import { isQemuNbdInstalled, QemuNbd, qemuNbdHint, type QemuNbdOptions } from "./qemu-nbd.ts";

export class QemuSource implements DiskSource {
  readonly path: string;
  readonly format: ForeignFormat;
  readonly #fd: number;
  readonly #server: QemuNbd;
  readonly #disk: NbdSource;
  readonly #state: string;

  private constructor(
    fd: number,
    path: string,
    format: ForeignFormat,
    server: QemuNbd,
    disk: NbdSource,
  ) {
    this.path = path;
    this.format = format;
    this.#fd = fd;
    this.#server = server;
    this.#disk = disk;
    this.#state = stateOf(fd);
  }

  /**
   * @param fd  of the file; closed with the source, or on failure
   * @throws {FailedError} that says what is wrong and what to do
   */
  static async open(
    fd: number,
    path: string,
    format: ForeignFormat,
    options: QemuNbdOptions = {},
  ): Promise<QemuSource> {
    let server: QemuNbd | undefined;
    try {
      check(fd, path, format, options);
      server = await QemuNbd.start(fd, qemuDriver(format), options);
      const place = { kind: "unix", path: server.socketPath } as const;
      const { signal } = options;
      const disk = await NbdSource.open({ place, exportName: "" }, { path, signal });
      return new QemuSource(fd, path, format, server, disk);
    } catch (error) {
      await server?.close();
      closeSync(fd);
      options.signal?.throwIfAborted();
      throw error instanceof Refusal ? error : failure(path, format, error);
    }
  }

  get size(): number {
    return this.#disk.size;
  }

  async *segments(segmentBytes: number): AsyncGenerator<ImageSegment> {
    try {
      yield* this.#disk.segments(segmentBytes);
    } catch (error) {
      throw this.#told(error);
    }
  }

  async load(segment: ImageSegment): Promise<SegmentInput> {
    try {
      return await this.#disk.load(segment);
    } catch (error) {
      throw this.#told(error);
    }
  }

  async read(offset: number, into: Uint8Array): Promise<number> {
    try {
      return await this.#disk.read(offset, into);
    } catch (error) {
      throw this.#told(error);
    }
  }

  changedSince(): string | undefined {
    if (isLockedForWriting(this.#fd)) return "was opened by a machine while it was read";
    return stateOf(this.#fd) === this.#state ? undefined : "changed while it was read";
  }

  async close(): Promise<void> {
    this.#disk.close();
    await this.#server.close();
    closeSync(this.#fd);
  }

  #told(error: unknown): unknown {
    const reason = this.#server.endReason;
    if (reason === undefined) return error;
    return new FailedError(`qemu-nbd, which reads it, has ended: ${reason}`, { cause: error });
  }
}

/** Told as it is. */
class Refusal extends FailedError {}

function check(fd: number, path: string, format: ForeignFormat, options: QemuNbdOptions): void {
  const name = printableName(path);
  if (isLockedForWriting(fd)) {
    throw new Refusal(`Cannot read ${name}: a running machine writes to it`, {
      hint: "Back the machine up while it runs: ashlar backup --libvirt DOMAIN, or --qmp SOCKET; or stop it",
    });
  }
  const { size } = fstatSync(fd);
  const head = Buffer.alloc(Math.min(size, foreignHeadBytes));
  readWhole(fd, head, 0);
  const other = otherFile(format, head, size);
  if (other !== undefined) {
    throw new Refusal(`Cannot read ${name} as ${format}: it names ${other}`, {
      hint: `Make one file of it: qemu-img convert -O qcow2 ${name} NEW; or keep its bytes: --no-image ${name}`,
    });
  }
  if (format === "encrypted qcow2" && options.keyFile === undefined) {
    throw new Refusal(`Cannot read ${name}: it is encrypted`, {
      hint: `Name a file that holds its passphrase: --disk-key-file FILE; or keep its bytes: --no-image ${name}`,
    });
  }
  if (!isQemuNbdInstalled())
    throw new Refusal(`Cannot read ${name} as ${format} without qemu-nbd`, { hint: qemuNbdHint });
}

function failure(path: string, format: ForeignFormat, error: unknown): FailedError {
  const reason = error instanceof Error ? error.message : String(error);
  const hint = error instanceof StoreError ? error.hint : undefined;
  return new FailedError(`Cannot read ${printableName(path)} as ${format}: ${reason}`, {
    cause: error,
    hint: hint ?? `To keep the bytes of the file: --no-image ${printableName(path)}`,
  });
}

/** Differs once the file was written to. */
function stateOf(fd: number): string {
  const { size, mtimeNs, ctimeNs } = fstatSync(fd, { bigint: true });
  return `${size} ${mtimeNs} ${ctimeNs}`;
}
