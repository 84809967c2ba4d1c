/**
 * Disk images: telling them from other files, reading them by segments without touching their holes, and
 * writing them back, sparse, into files and block devices.
 *
 * Bytes are read and written by others through the descriptor (`fd`), with positions of their own.
 */
export { classifyImage } from "./classify-image.ts";
export type { ImageClass } from "./classify-image.ts";
export { diskFormat } from "./disk-format.ts";
export type { DiskFormat } from "./disk-format.ts";
export { sharedBytes } from "./disk-source.ts";
export type { DiskRange, DiskSource, SegmentInput } from "./disk-source.ts";
export { isQemuNbdInstalled, qemuNbdHint } from "./foreign/qemu-nbd.ts";
export { QemuSource } from "./foreign/qemu-source.ts";
export { changedPartitions, partitionsIn } from "./partitions/changed-partitions.ts";
export type { ChangedPartition } from "./partitions/changed-partitions.ts";
export type { Partition, PartitionTable } from "./partitions/partition.ts";
export { type FileSystemKind, readFileSystemKind } from "./partitions/file-system.ts";
export { readPartitionTable } from "./partitions/read-table.ts";
export { partitionTypeName } from "./partitions/type-names.ts";
export { ClusterSet } from "./qcow2/cluster-set.ts";
export { defaultKind, holePieces, hostOffset, layOut, possibleKind } from "./qcow2/layout.ts";
export type { Qcow2Kind, Qcow2Layout } from "./qcow2/layout.ts";
export { Qcow2Source } from "./qcow2/qcow2-source.ts";
export { findTableFault, writeTables } from "./qcow2/write-tables.ts";
export { ImageSource, openImageSource } from "./image-source.ts";
export type { ImageIdentity } from "./image-source.ts";
export type { ImageSegment } from "./segments.ts";
export { NbdSource } from "./nbd-source.ts";
export { ImageTarget } from "./image-target.ts";
export { openImageTarget, openReplacingTarget } from "./open-target.ts";
export type { ImageTargetOptions } from "./open-target.ts";
