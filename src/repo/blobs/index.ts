/**
 * The data pipeline: chunks and tree nodes into packs, and back.
 *
 * `BlobWriter` and `BlobReader` coordinate; lanes, one a core, do what costs time: read, cut, name,
 * compress, seal; open, decompress, check, write. In which form a blob is stored never shows above
 * this room. docs/decisions/0008-pipeline.md has its memory bound and its measurements.
 */
export type { CompressionLevel } from "./levels.ts";
export { openZstd, type ZstdEngine } from "./zstd.ts";
export {
  BlobWriter,
  type BlobWriterOptions,
  type FindBases,
  type NewChunk,
  type StoredSegment,
  type WriterStats,
} from "./blob-writer.ts";
export type { KnownBase } from "./choose-form.ts";
export { BaseCache } from "./base-cache.ts";
export { Hooks, type Likeness } from "./hooks.ts";
export { getHooks, type HookObjectContext, putHooks } from "./hook-objects.ts";
export { DeltaBases } from "./delta-bases.ts";
export type { CutSource, ReadFault } from "./lane-messages.ts";
export { faultOf } from "./read-source.ts";
export type { ChunkList, StoredStream } from "./store-stream.ts";
export {
  BlobReader,
  type BlobReaderOptions,
  type StoredForm,
  type VerifyRange,
} from "./blob-reader.ts";
export type { BlobWrite, DamagedBlob, RestoreOptions, RestoreStats } from "./bulk-restore.ts";
export { Gate } from "./gate.ts";
export type { BlobGroup } from "./read-ahead.ts";
export type { WriteTarget } from "./restore-plan.ts";
export { BlobDecoder } from "./open-blob.ts";
export { PackBuilder, packBytesFor, packCapacity, type NewBlob } from "./pack-builder.ts";
