/** Which pack holds a blob: the index of a repository as a host searches it, and how it is written. */
export { BlobIndex, type BlobIndexOptions } from "./blob-index.ts";
export type { DamagedObject, IndexObjectInfo, ProtocolObjectInfo } from "./index-intake.ts";
export type { BlobLocation } from "./location.ts";
export type { PackInfo } from "./pack-table.ts";
export type { ProtocolKind, VerifySigned } from "./object-source.ts";
export type { BatchObject } from "./run-batch.ts";
export { BlobMarks } from "./blob-marks.ts";
export { IndexWriter, sealIndexObject, type IndexWriterOptions } from "./index-writer.ts";
export { mergeIndexObjects, planMerges, splitPacks, type SizedObject } from "./merge-plan.ts";
