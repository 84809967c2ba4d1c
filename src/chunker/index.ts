/**
 * Cut points: where images and byte streams are divided into chunks.
 *
 * Two cutters. Images go through a `BlockHasher` and `cutSegment`: keyed, aligned to 4 KiB, several
 * GiB/s. Streams go through `cutStream`. Both are pure: the same bytes, key and parameters give the
 * same chunks on every host, which is what deduplication between hosts and nights stands on.
 */
export { blockBytes, type BlockHashes, type BlockHashing } from "./block-hasher.ts";
export { BlockHasher } from "./aligned-wasm.ts";
export { PlainBlockHasher } from "./plain-block-hasher.ts";
export {
  checkImageCutParams,
  cutSegment,
  defaultImageCutParams,
  holeBit,
  imageThreshold,
  runCountMask,
  settledRuns,
  type ImageCutParams,
} from "./cut-segment.ts";
export {
  checkStreamCutParams,
  cutStream,
  defaultStreamCutParams,
  type StreamCutParams,
} from "./cut-stream.ts";
