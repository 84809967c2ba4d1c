/**
 * From sealed bytes back to a blob's plain bytes, believed only when its id is checked (I3).
 *
 * Stored bytes are hostile: whatever is wrong with them is a CorruptionError.
 */
import { toHex } from "../../bytes.ts";
import { CorruptionError } from "../../errors.ts";
import type { BlobClass, IdHasher } from "../../crypto/index.ts";
import {
  blobForm,
  decodeDelta,
  dictionaryBytesMost,
  dictionaryOf,
  sliceOf,
  type DeltaBlob,
} from "../format/index.ts";
import type { ZstdEngine } from "./zstd.ts";

/** What an entry says of a blob. */
export interface BlobFacts {
  readonly id: Uint8Array;
  readonly ordinal: number;
  readonly form: number;
  readonly plainLength: number;
}

export class BlobDecoder {
  readonly #ids: IdHasher;
  readonly #engine: ZstdEngine;
  #dictionary: Uint8Array | undefined;

  constructor(ids: IdHasher, engine: ZstdEngine) {
    this.#ids = ids;
    this.#engine = engine;
  }

  /**
   * @param opened what the seal held
   * @param into   where given, decompressed bytes are written there
   * @returns the plain bytes, or the delta whose bases must be found first
   */
  decode(
    cls: BlobClass,
    blob: BlobFacts,
    opened: Uint8Array,
    into?: Uint8Array,
  ): Uint8Array | DeltaBlob {
    switch (blob.form) {
      case blobForm.raw:
        return this.#checked(cls, blob, opened);
      case blobForm.zstd:
        return this.#checked(
          cls,
          blob,
          this.#engine.decompress(opened, blob.plainLength, undefined, into),
        );
      case blobForm.delta:
        return decodeDelta(opened);
      default:
        throw new CorruptionError(
          `Cannot open blob ${toHex(blob.id)}: form ${blob.form} is not known`,
        );
    }
  }

  /** @param bases  the plain bytes of the delta's bases, in their order, ids checked */
  applyDelta(
    cls: BlobClass,
    blob: BlobFacts,
    delta: DeltaBlob,
    bases: readonly Uint8Array[],
    into?: Uint8Array,
  ): Uint8Array {
    this.#dictionary ??= new Uint8Array(dictionaryBytesMost);
    const slices = delta.bases.map((base, index) => sliceOf(base, bases[index]!));
    const dictionary = dictionaryOf(slices, this.#dictionary);
    const plain = this.#engine.decompress(delta.frame, blob.plainLength, dictionary, into);
    return this.#checked(cls, blob, plain);
  }

  #checked(cls: BlobClass, blob: BlobFacts, plain: Uint8Array): Uint8Array {
    const isWhole = plain.length === blob.plainLength;
    if (isWhole && Buffer.compare(this.#ids.id(cls, plain), blob.id) === 0) return plain;
    throw new CorruptionError(`Cannot open blob ${toHex(blob.id)}: its content has another id`);
  }
}
