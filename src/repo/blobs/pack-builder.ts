/**
 * A pack being filled: sealed blobs back to back in one buffer, then footer, padding and trailer.
 *
 * Every object has a Padmé length. So that padding costs nothing, a pack is closed when its length
 * happens to lie just below one of those lengths; only a run's last packs end anywhere.
 */
import { createHash } from "node:crypto";
import { padme } from "../../bytes.ts";
import { assert } from "../../errors.ts";
import { PackSealer, packTrailerBytes, type BlobClass, type PackSeal } from "../../crypto/index.ts";
import {
  encodePackFooter,
  indexedPackOf,
  packBlobCountMax,
  packBytesMax,
  packFooterBytes,
  packHeaderBytes,
  sealBytes,
  type BlobForm,
  type IndexedPack,
  type PackEntry,
} from "../format/index.ts";

export interface NewBlob {
  readonly id: Uint8Array;
  readonly form: BlobForm;
  readonly depth: number;
  readonly plainLength: number;
  /** What is sealed. */
  readonly bytes: Uint8Array;
  readonly bases: readonly Uint8Array[];
}

export interface BuiltPack {
  readonly pack: IndexedPack;
  /** The whole pack, a view of the builder's buffer. */
  readonly bytes: Uint8Array;
  readonly plainBytes: number;
}

/** From this share of the capacity on, a pack closes where padding is small. */
const closeFromShare = 0.75;
const paddingShareSmall = 1 / 512;

/** The largest length up to `targetBytes` that needs no padding. */
export function packCapacity(targetBytes: number): number {
  for (let length = Math.min(targetBytes, packBytesMax); ; length--) {
    if (padme(length) === length) return length;
  }
}

/** What a buffer must hold for a pack of one blob: blobs longer than a target get a pack alone. */
export function packBytesFor(blobBytes: number, baseCount: number): number {
  return padme(
    packHeaderBytes +
      blobBytes +
      sealBytes +
      packFooterBytes(1, baseCount) +
      sealBytes +
      packTrailerBytes,
  );
}

export class PackBuilder {
  readonly #buffer: Uint8Array;
  readonly #cls: BlobClass;
  readonly #sealer: PackSealer;
  readonly #entries: PackEntry[] = [];
  #at = packHeaderBytes;
  #baseCount = 0;
  #plainBytes = 0;

  /** @param buffer  its length is the capacity, and a Padmé length; owned until the pack is built */
  constructor(seal: PackSeal, repoId: Uint8Array, cls: BlobClass, buffer: Uint8Array) {
    assert(padme(buffer.length) === buffer.length, "a pack's capacity needs no padding");
    this.#buffer = buffer;
    this.#cls = cls;
    this.#sealer = new PackSealer(seal, repoId, cls);
    buffer.set(seal.header);
  }

  get blobCount(): number {
    return this.#entries.length;
  }

  fits(blobBytes: number, baseCount: number): boolean {
    return (
      this.#entries.length < packBlobCountMax &&
      this.#lengthWith(1, blobBytes + sealBytes, baseCount) <= this.#buffer.length
    );
  }

  /** The blob must fit. */
  add(blob: NewBlob): void {
    assert(this.fits(blob.bytes.length, blob.bases.length), "a blob fits its pack");
    const { id, form, depth, plainLength, bytes, bases } = blob;
    const ordinal = this.#entries.length;
    const sealedLength = this.#sealer.sealBlob(
      { ordinal, id, form, plainLength },
      bytes,
      this.#buffer.subarray(this.#at),
    );
    const baseEntries = bases.map((base) => ({ id: base }));
    this.#entries.push({ id, sealedLength, plainLength, form, depth, bases: baseEntries });
    this.#at += sealedLength;
    this.#baseCount += bases.length;
    this.#plainBytes += plainLength;
  }

  /** True where the pack is long enough and would end just below a length that needs no padding. */
  get closesWell(): boolean {
    const length = this.#lengthWith(0, 0, 0);
    const padding = padme(length) - length;
    return length >= closeFromShare * this.#buffer.length && padding <= length * paddingShareSmall;
  }

  /** Seals footer and trailer, pads, and names the pack. The builder is used up. */
  build(): BuiltPack {
    const total = padme(this.#lengthWith(0, 0, 0));
    const footer = this.#sealer.sealFooter(
      encodePackFooter({ cls: this.#cls, entries: this.#entries }),
    );
    const footerOffset = total - packTrailerBytes - footer.length;
    this.#sealer.fillPadding(this.#buffer.subarray(this.#at, footerOffset));
    this.#buffer.set(footer, footerOffset);
    this.#buffer.set(
      this.#sealer.sealTrailer({
        footerOffset,
        footerLength: footer.length,
        blobCount: this.#entries.length,
      }),
      total - packTrailerBytes,
    );
    this.#sealer.wipe();
    const bytes = this.#buffer.subarray(0, total);
    const name = new Uint8Array(createHash("sha256").update(bytes).digest());
    const pack = indexedPackOf(name, total, { cls: this.#cls, entries: this.#entries });
    return { pack, bytes, plainBytes: this.#plainBytes };
  }

  #lengthWith(moreBlobs: number, moreBytes: number, moreBases: number): number {
    const footer = packFooterBytes(this.#entries.length + moreBlobs, this.#baseCount + moreBases);
    return this.#at + moreBytes + footer + sealBytes + packTrailerBytes;
  }
}
