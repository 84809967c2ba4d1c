/**
 * A repository's settings: fixed at `init`, sealed inside the config object; amendments may change
 * how new packs are written, never how bytes are cut or named.
 *
 * JSON body:
 *   version 1, requires[]
 *   chunker.image   algorithm, blockBytes, segmentBytes, minBytes, averageBytes, maxBytes, threshold, holeBlocks
 *   chunker.stream  algorithm, minBytes, averageBytes, maxBytes
 *   pack.targetBytes, delta.depth, map.fanout, created
 */
import { blobPlainBytesMax, blockBytes, deltaDepthMax, packBytesMax } from "./limits.ts";
import { integer, jsonBody, oneOf, record, refine, time, type Shape } from "./schema.ts";

export interface ImageCutSettings {
  readonly algorithm: "nh-siphash-v1";
  readonly blockBytes: 4096;
  /** Cuts never cross a segment; a multiple of 4 MiB. */
  readonly segmentBytes: number;
  readonly minBytes: number;
  readonly averageBytes: number;
  readonly maxBytes: number;
  /** A cut follows a block whose 32-bit value is below this. */
  readonly threshold: number;
  /** A run of at least this many zero blocks is a hole. */
  readonly holeBlocks: number;
}

export interface StreamCutSettings {
  readonly algorithm: "fastcdc-wasm-v1";
  readonly minBytes: number;
  readonly averageBytes: number;
  readonly maxBytes: number;
}

export interface Settings {
  readonly chunker: { readonly image: ImageCutSettings; readonly stream: StreamCutSettings };
  readonly pack: { readonly targetBytes: number };
  readonly delta: { readonly depth: number };
  readonly map: { readonly fanout: number };
  readonly created: string;
}

const mib = 1024 * 1024;
const segmentBytesMax = 64 * mib;

const blockSize = integer(blockBytes, blockBytes) as Shape<4096>;

const imageShape = refine(
  record<ImageCutSettings>({
    algorithm: oneOf("nh-siphash-v1"),
    blockBytes: blockSize,
    segmentBytes: integer(4 * mib, segmentBytesMax),
    minBytes: integer(blockBytes),
    averageBytes: integer(blockBytes),
    maxBytes: integer(blockBytes, blobPlainBytesMax),
    threshold: integer(1, 0xffff_ffff),
    holeBlocks: integer(1, segmentBytesMax / blockBytes),
  }),
  (cut) => {
    if (cut.segmentBytes % (4 * mib) !== 0) return "has a segment that is no multiple of 4 MiB";
    const whole = [cut.minBytes, cut.averageBytes, cut.maxBytes].every((n) => n % blockBytes === 0);
    if (!whole) return "has chunk sizes that are no whole blocks";
    if (cut.maxBytes > cut.segmentBytes) return "has chunks larger than a segment";
    return outOfOrder(cut);
  },
);

const streamShape = refine(
  record<StreamCutSettings>({
    algorithm: oneOf("fastcdc-wasm-v1"),
    minBytes: integer(256),
    averageBytes: integer(1024),
    maxBytes: integer(1024, blobPlainBytesMax),
  }),
  (cut) => {
    const isPowerOfTwo = Number.isInteger(Math.log2(cut.averageBytes));
    return isPowerOfTwo ? outOfOrder(cut) : "has an average that is no power of two";
  },
);

function outOfOrder(cut: ImageCutSettings | StreamCutSettings): string | undefined {
  const isOrdered = cut.minBytes <= cut.averageBytes && cut.averageBytes <= cut.maxBytes;
  return isOrdered ? undefined : "has chunk sizes that are not min <= average <= max";
}

export const packTargetShape = integer(mib, packBytesMax);
export const deltaDepthShape = integer(1, deltaDepthMax);

const codec = jsonBody(
  "settings",
  record<Settings>({
    chunker: record<Settings["chunker"]>({ image: imageShape, stream: streamShape }),
    pack: record<Settings["pack"]>({ targetBytes: packTargetShape }),
    delta: record<Settings["delta"]>({ depth: deltaDepthShape }),
    map: record<Settings["map"]>({ fanout: integer(16, 1024) }),
    created: time,
  }),
);

export function encodeSettings(settings: Settings): Uint8Array {
  return codec.encode(settings);
}

export function decodeSettings(body: Uint8Array): Settings {
  return codec.decode(body);
}
