/**
 * One pack read whole: its name, its seal, its footer against what index objects claim, every blob's
 * id. A claim that the pack does not bear out is put down to the writer who signed it (R14).
 */
import { toHex } from "../../../bytes.ts";
import {
  createIdHasher,
  openPackHeader,
  PackOpener,
  packTrailerBytes,
} from "../../../crypto/index.ts";
import { CorruptionError } from "../../../errors.ts";
import { BlobDecoder, openZstd } from "../../blobs/index.ts";
import {
  type BlobClass,
  decodePackFooter,
  type IndexedPack,
  indexedPackOf,
  packHeaderBytes,
} from "../../format/index.ts";
import type { Repository } from "../repository.ts";
import { sha256 } from "../sealed-records.ts";

export interface DamagedEntry {
  readonly ordinal: number;
  readonly id: Uint8Array;
  readonly offset: number;
  readonly message: string;
}

export type ReadBase = (cls: BlobClass, id: Uint8Array) => Promise<Uint8Array>;

/** A pack whose header could be opened. Holds keys: call `wipe`. */
export interface OpenedPackBytes {
  readonly cls: BlobClass;
  readonly opener: PackOpener;
}

export class PackChecker {
  readonly #repository: Pick<Repository, "fullKeys" | "id">;
  readonly #decoder: BlobDecoder;
  readonly #readBase: ReadBase;

  constructor(repository: Pick<Repository, "fullKeys" | "id">, readBase: ReadBase) {
    this.#repository = repository;
    this.#decoder = new BlobDecoder(createIdHasher(repository.fullKeys), openZstd("auto"));
    this.#readBase = readBase;
  }

  /** @throws {CorruptionError} when nothing in these bytes can be opened */
  open(bytes: Uint8Array): OpenedPackBytes {
    const { fullKeys, id } = this.#repository;
    if (bytes.length < packHeaderBytes + packTrailerBytes)
      throw new CorruptionError("it is shorter than any pack");
    const { cls, secret } = openPackHeader(bytes.slice(0, packHeaderBytes), fullKeys, id);
    return { cls, opener: new PackOpener(secret, id, cls) };
  }

  /** What the pack says of itself. @throws {CorruptionError} */
  footer({ cls, opener }: OpenedPackBytes, name: string, bytes: Uint8Array): IndexedPack {
    const trailer = opener.openTrailer(bytes.subarray(bytes.length - packTrailerBytes));
    const end = trailer.footerOffset + trailer.footerLength;
    if (end !== bytes.length - packTrailerBytes || trailer.footerOffset < packHeaderBytes)
      throw new CorruptionError("its trailer does not fit its length");
    const footer = decodePackFooter(opener.openFooter(bytes.subarray(trailer.footerOffset, end)));
    if (footer.cls !== cls || footer.entries.length !== trailer.blobCount)
      throw new CorruptionError("its footer is not the one its trailer speaks of");
    return indexedPackOf(Buffer.from(name, "hex"), bytes.length, footer);
  }

  /**
   * Opens the blobs that `pack` speaks of, all unless told which.
   * @returns those that are not there, or not what they should be
   */
  async damagedEntries(
    { cls, opener }: OpenedPackBytes,
    bytes: Uint8Array,
    pack: IndexedPack,
    isWanted: (ordinal: number) => boolean = () => true,
  ): Promise<DamagedEntry[]> {
    const damaged: DamagedEntry[] = [];
    const basesOf = basePrefixes(pack);
    let offset = packHeaderBytes;
    for (let ordinal = 0; ordinal < pack.count; ordinal++) {
      const id = pack.ids.subarray(ordinal * 32, ordinal * 32 + 32);
      const sealedLength = pack.sealedLengths[ordinal]!;
      if (!isWanted(ordinal)) {
        offset += sealedLength;
        continue;
      }
      try {
        if (pack.cls !== cls) throw new CorruptionError("the pack is of the other class");
        if (offset + sealedLength > bytes.length)
          throw new CorruptionError("the pack ends before it");
        const blob = {
          ordinal,
          id,
          form: pack.forms[ordinal]!,
          plainLength: pack.plainLengths[ordinal]!,
        };
        const opened = opener.openBlob(blob, bytes.subarray(offset, offset + sealedLength));
        const decoded = this.#decoder.decode(cls, blob, opened);
        if (!(decoded instanceof Uint8Array)) {
          checkBases(decoded.bases, basesOf.get(ordinal) ?? []);
          const bases = await Promise.all(
            decoded.bases.map((base) => this.#readBase(cls, base.id)),
          );
          this.#decoder.applyDelta(cls, blob, decoded, bases);
        }
      } catch (error) {
        if (!(error instanceof CorruptionError)) throw error;
        damaged.push({ ordinal, id: id.slice(), offset, message: error.message });
      }
      offset += sealedLength;
    }
    return damaged;
  }

  hasItsName(name: string, bytes: Uint8Array): boolean {
    return sha256(bytes) === name;
  }
}

function basePrefixes(pack: IndexedPack): Map<number, Uint8Array[]> {
  const prefixes = new Map<number, Uint8Array[]>();
  for (const { ordinal, prefix } of pack.bases) {
    const known = prefixes.get(ordinal);
    if (known === undefined) prefixes.set(ordinal, [prefix]);
    else known.push(prefix);
  }
  return prefixes;
}

/** A collector keeps the bases that the entry names: they must be those that the blob needs. */
function checkBases(
  bases: readonly { readonly id: Uint8Array }[],
  prefixes: readonly Uint8Array[],
): void {
  const needed = bases.map(({ id }) => toHex(id.subarray(0, 8))).sort();
  const named = prefixes.map((prefix) => toHex(prefix)).sort();
  if (needed.join() !== named.join())
    throw new CorruptionError("its bases are not those that its entry names");
}
