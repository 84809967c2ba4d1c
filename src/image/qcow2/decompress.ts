/** Compressed clusters. Their bytes end somewhere before the end of their last sector; what follows is not theirs. */
import { promisify } from "node:util";
import { constants, inflateRaw } from "node:zlib";
import { Qcow2Fault } from "./fault.ts";

/** Decompresses one frame of zstd whose content has `plainBytes`. */
export type DecompressZstd = (frame: Uint8Array, plainBytes: number) => Uint8Array;

const inflate = promisify<Uint8Array, object, Buffer>(inflateRaw);
const zstdMagic = 0xfd2fb528;
const notDecompressed = "a compressed cluster does not decompress";

/** @returns exactly a cluster */
export async function decompressCluster(
  bytes: Buffer,
  clusterBytes: number,
  compression: "deflate" | "zstd",
  zstd: DecompressZstd,
): Promise<Uint8Array> {
  let plain: Uint8Array;
  try {
    plain =
      compression === "zstd"
        ? zstd(bytes.subarray(0, zstdFrameBytes(bytes)), clusterBytes)
        : await inflate(bytes, {
            finishFlush: constants.Z_SYNC_FLUSH,
            maxOutputLength: clusterBytes,
          });
  } catch (error) {
    if (error instanceof Qcow2Fault) throw error;
    throw new Qcow2Fault(notDecompressed);
  }
  if (plain.length !== clusterBytes) throw new Qcow2Fault(notDecompressed);
  return plain;
}

/**
 * Where a frame ends: after its header its blocks follow, each with its length before it.
 *
 * @see RFC 8878, 3.1.1
 */
export function zstdFrameBytes(bytes: Buffer): number {
  const need = (end: number): void => {
    if (end > bytes.length) throw new Qcow2Fault("a compressed cluster is cut off");
  };
  need(5);
  if (bytes.readUInt32LE(0) !== zstdMagic) throw new Qcow2Fault(notDecompressed);
  const descriptor = bytes[4]!;
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const dictionaryIdBytes = [0, 1, 2, 4][descriptor & 3]!;
  const contentSizeBytes = [isSingleSegment ? 1 : 0, 2, 4, 8][descriptor >> 6]!;
  let at = 5 + (isSingleSegment ? 0 : 1) + dictionaryIdBytes + contentSizeBytes;
  for (let isLast = false; !isLast;) {
    need(at + 3);
    const block = bytes.readUIntLE(at, 3);
    isLast = (block & 1) === 1;
    const isRepeated = ((block >> 1) & 3) === 1;
    at += 3 + (isRepeated ? 1 : block >> 3);
  }
  at += (descriptor & 4) !== 0 ? 4 : 0;
  need(at);
  return at;
}
