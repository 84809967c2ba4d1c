/**
 * Of what kind the disk was whose guest's view an entry holds: enough to make one like it again.
 *
 * JSON body, fields in the order below (`version` 1 and `requires` before them); `format` tells which.
 */
import { boolean, integer, jsonBody, oneOf, optional, record, text } from "./schema.ts";

export type DiskDetails = Qcow2Details | ForeignDetails;

export interface Qcow2Details {
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

/** Read by QEMU; more of its kind is not known. */
export interface ForeignDetails {
  readonly format: (typeof foreign)[number];
  readonly fileBytes: number;
}

const foreign = ["vmdk", "vdi", "vhdx", "vhd", "qed", "parallels", "encrypted qcow2"] as const;

const qcow2 = record<Qcow2Details>({
  format: oneOf("qcow2"),
  fileBytes: integer(0),
  clusterBytes: integer(512, 1 << 21),
  compat: oneOf("0.10", "1.1"),
  compression: oneOf("deflate", "zstd"),
  lazyRefcounts: boolean,
  extendedL2: boolean,
  backingFormat: optional(text(64)),
  externalData: boolean,
});
const others = record<ForeignDetails>({ format: oneOf(...foreign), fileBytes: integer(0) });
const format = record<Pick<DiskDetails, "format">>({ format: oneOf("qcow2", ...foreign) });

const codec = jsonBody<DiskDetails>("disk details", {
  read: (value, path) =>
    format.read(value, path).format === "qcow2"
      ? qcow2.read(value, path)
      : others.read(value, path),
  write: (value, path) =>
    value.format === "qcow2" ? qcow2.write(value, path) : others.write(value, path),
});

export function encodeDiskDetails(details: DiskDetails): Uint8Array {
  return codec.encode(details);
}

export function decodeDiskDetails(body: Uint8Array): DiskDetails {
  return codec.decode(body);
}
