/** Every codec under one interface: property tests and vectors go through all of them. */
import type fc from "fast-check";
import * as format from "../../src/repo/format/index.ts";
import * as arbitrary from "./arbitraries.ts";

export interface AnyCodec {
  readonly arbitrary: fc.Arbitrary<unknown>;
  encode(value: unknown): Uint8Array;
  decode(bytes: Uint8Array): unknown;
}

function codec<T>(
  values: fc.Arbitrary<T>,
  encode: (value: T) => Uint8Array,
  decode: (bytes: Uint8Array) => T,
): AnyCodec {
  return { arbitrary: values, encode: (value) => encode(value as T), decode };
}

export const codecs = {
  config: codec(arbitrary.config, format.encodeConfig, format.decodeConfig),
  settings: codec(arbitrary.settings, format.encodeSettings, format.decodeSettings),
  amendment: codec(arbitrary.amendment, format.encodeAmendment, format.decodeAmendment),
  card: codec(arbitrary.card, format.encodeCard, format.decodeCard),
  snapshot: codec(arbitrary.snapshot, format.encodeSnapshot, format.decodeSnapshot),
  session: codec(arbitrary.session, format.encodeSession, format.decodeSession),
  mark: codec(arbitrary.mark, format.encodeMark, format.decodeMark),
  verdict: codec(arbitrary.verdict, format.encodeVerdict, format.decodeVerdict),
  census: codec(arbitrary.census, format.encodeCensus, format.decodeCensus),
  forget: codec(arbitrary.forgetRecord, format.encodeForgetRecord, format.decodeForgetRecord),
  "pack-footer": codec(arbitrary.packFooter, format.encodePackFooter, format.decodePackFooter),
  index: codec(arbitrary.indexObject, format.encodeIndexObject, format.decodeIndexObject),
  hooks: codec(arbitrary.hooks, format.encodeHooks, format.decodeHooks),
  "directory-node": codec(
    arbitrary.directoryNode,
    format.encodeDirectoryNode,
    format.decodeDirectoryNode,
  ),
  "page-node": codec(arbitrary.pageNode, format.encodePageNode, format.decodePageNode),
  "list-node": codec(arbitrary.listNode, format.encodeListNode, format.decodeListNode),
  "segment-node": codec(arbitrary.segmentNode, format.encodeSegmentNode, format.decodeSegmentNode),
  "map-node": codec(arbitrary.mapNode, format.encodeMapNode, format.decodeMapNode),
} as const satisfies Record<string, AnyCodec>;

export type CodecName = keyof typeof codecs;
