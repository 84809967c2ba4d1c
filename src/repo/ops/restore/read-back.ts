/** Reads back what was restored and compares it with what the snapshot says (`--verify`). */
import { fdatasync, read } from "node:fs";
import { promisify } from "node:util";
import type { ImageTarget } from "../../../image/index.ts";
import { fadvise, seekData } from "../../../posix/index.ts";
import type { BlobReader } from "../../blobs/index.ts";
import type { Settings } from "../../format/index.ts";
import { filePieces, type Piece } from "../tree-reader.ts";
import type { ContentJob } from "./content-restorer.ts";

const readAt = promisify(read);
const syncData = promisify(fdatasync);

/** Smaller files are compared as the system's memory has them: a sync each would take longer than they. */
const syncBytesMin = 1024 * 1024;
const zeros = Buffer.alloc(1024 * 1024);

/** @returns the offset of the first piece that differs, if any */
export async function readBack(
  context: {
    readonly reader: BlobReader;
    readonly settings: Settings;
    readonly signal: AbortSignal | undefined;
  },
  job: Pick<ContentJob, "target" | "entry" | "placement">,
): Promise<number | undefined> {
  const { reader, settings, signal } = context;
  const { target, entry, placement } = job;
  if (target.size >= syncBytesMin) {
    await syncData(target.fd);
    fadvise(target.fd, 0, 0, "dontNeed"); // else the disk would not be asked
  }
  const fault = await placement?.findFault(target);
  if (fault !== undefined) return fault;
  for await (const some of filePieces(reader, entry, settings)) {
    signal?.throwIfAborted();
    const pieces = placement === undefined ? some : some.flatMap((p) => placement.piecesOf(p));
    const chunks = pieces.filter((piece): piece is Required<Piece> => piece.id !== undefined);
    const equal = await reader.verifyRanges(target.fd, chunks);
    const wrong = chunks.find((_, row) => equal[row] !== 1);
    if (wrong !== undefined) return wrong.offset;
    for (const hole of pieces) {
      if (hole.id === undefined && !(await isZero(target, hole))) return hole.offset;
    }
  }
  return undefined;
}

async function isZero({ fd, kind }: ImageTarget, { offset, length }: Piece): Promise<boolean> {
  const end = offset + length;
  const buffer = Buffer.alloc(Math.min(zeros.length, length));
  for (let at = offset; at < end;) {
    const data = kind === "block" ? at : seekData(fd, at);
    if (data === undefined || data >= end) return true;
    const wanted = Math.min(buffer.length, end - data);
    const { bytesRead } = await readAt(fd, buffer, 0, wanted, data);
    if (bytesRead === 0) return false;
    if (!buffer.subarray(0, bytesRead).equals(zeros.subarray(0, bytesRead))) return false;
    at = data + bytesRead;
  }
  return true;
}
