/** One pure codec a stored object; layouts are drawn in each file and gathered in docs/format.md. */
export { blobForm, type BlobClass, type BlobFacts, type BlobForm } from "./blob-form.ts";
export * from "./limits.ts";

export { decodeConfig, encodeConfig, type Config } from "./config.ts";
export {
  decodeSettings,
  encodeSettings,
  type ImageCutSettings,
  type Settings,
  type StreamCutSettings,
} from "./settings.ts";
export {
  amendSettings,
  decodeAmendment,
  encodeAmendment,
  type Amendment,
  type SettingsChange,
  type WriterRemoved,
} from "./amendment.ts";
export { decodeCard, encodeCard, type Card, type Role } from "./card.ts";

export {
  decodePackFooter,
  encodePackFooter,
  indexedPackOf,
  packFooterBytes,
  type PackEntry,
  type PackFooter,
} from "./pack-footer.ts";
export {
  decodeDelta,
  dictionaryBytesMost,
  dictionaryOf,
  encodeDeltaPrefix,
  sliceOf,
  type DeltaBase,
  type DeltaBlob,
  type DeltaSlice,
} from "./delta-prefix.ts";
export { decodeHooks, encodeHooks, hookCountMax, type HookList } from "./hooks.ts";
export {
  decodeIndexObject,
  encodeIndexObject,
  indexedPackBytes,
  type IndexedBase,
  type IndexedPack,
  type IndexObject,
} from "./index-object.ts";

export { decodeSnapshot, encodeSnapshot, type Snapshot } from "./snapshot.ts";
export {
  decodeSession,
  encodeSession,
  type ProcessIdentity,
  type Session,
  type SessionKind,
  type SessionState,
} from "./session.ts";
export { decodeMark, encodeMark, type Fence, type Mark, type MarkRecord } from "./mark.ts";
export { decodeVerdict, encodeVerdict, type Verdict } from "./verdict.ts";
export { decodeCensus, encodeCensus, type Census, type SessionSeen } from "./census.ts";
export {
  decodeForgetRecord,
  encodeForgetRecord,
  type ForgetRecord,
  type ForgottenSnapshot,
} from "./forget-record.ts";

export { nodeTypeOf, type NodeType } from "./node-type.ts";
export {
  decodeDirectoryNode,
  decodePageNode,
  encodeDirectory,
  encodeDirectoryNode,
  encodePageNode,
  type DirectoryNode,
  type DirectoryPage,
  type EncodedPage,
  type PageNode,
} from "./directory-node.ts";
export type { DirectoryEntry } from "./entry.ts";
export type {
  Chunk,
  ChunksContent,
  DirectoryContent,
  EntryContent,
  ImageContent,
  ListContent,
} from "./file-content.ts";
export {
  decodeListNode,
  encodeListNode,
  isListLeaf,
  type ListChild,
  type ListInner,
  type ListLeaf,
  type ListNode,
} from "./list-node.ts";
export { decodeSegmentNode, encodeSegmentNode, holeRun, type SegmentNode } from "./segment-node.ts";
export { decodeMapNode, encodeMapNode, heightFor, type MapNode } from "./map-node.ts";
export type { DiskDetails } from "./disk-details.ts";
