/**
 * Of what kind the disk was whose guest's view an entry holds: enough to make one like it again.
 *
 * JSON body, fields in the order below (`version` 1 and `requires` before them).
 */
import { boolean, integer, jsonBody, oneOf, optional, record, text } from "./schema.ts";

export interface DiskDetails {
  readonly format: "qcow2";
  /** Of the file it was in: with its times it tells whether it was written to since. */
  readonly fileBytes: number;
  readonly clusterBytes: number;
  readonly compat: "0.10" | "1.1";
  readonly compression: "deflate" | "zstd";
  readonly lazyRefcounts: boolean;
  readonly extendedL2: boolean;
  /** It stood on another file, whose content is part of the entry's. */
  readonly backingFormat?: string;
  /** Its data lay in another file. */
  readonly externalData: boolean;
}

const codec = jsonBody(
  "disk details",
  record<DiskDetails>({
    format: oneOf("qcow2"),
    fileBytes: integer(0),
    clusterBytes: integer(512, 1 << 21),
    compat: oneOf("0.10", "1.1"),
    compression: oneOf("deflate", "zstd"),
    lazyRefcounts: boolean,
    extendedL2: boolean,
    backingFormat: optional(text(64)),
    externalData: boolean,
  }),
);

export function encodeDiskDetails(details: DiskDetails): Uint8Array {
  return codec.encode(details);
}

export function decodeDiskDetails(body: Uint8Array): DiskDetails {
  return codec.decode(body);
}
