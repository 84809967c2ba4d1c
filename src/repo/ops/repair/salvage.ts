/**
 * Takes the good blobs out of a damaged pack into new ones. What is moved is the compressed form,
 * opened, its id checked, and sealed again (R10).
 */
import { newPackSeal } from "../../../crypto/index.ts";
import { toHex } from "../../../bytes.ts";
import { packBytesFor, PackBuilder, packCapacity } from "../../blobs/index.ts";
import type { IndexWriter } from "../../blob-index/index.ts";
import {
  type BlobClass,
  type BlobForm,
  decodeDelta,
  type IndexedPack,
  packHeaderBytes,
} from "../../format/index.ts";
import type { OpenedPackBytes } from "../check/pack-check.ts";
import type { Repository } from "../repository.ts";

export class Salvage {
  readonly #repository: Repository;
  readonly #indexWriter: IndexWriter;
  readonly #builders = new Map<BlobClass, PackBuilder>();
  blobCount = 0;
  /** Names of the packs that were put. */
  readonly packs: string[] = [];

  constructor(repository: Repository, indexWriter: IndexWriter) {
    this.#repository = repository;
    this.#indexWriter = indexWriter;
  }

  /** @param isWanted  of blobs that are good, by ordinal */
  async take(
    { cls, opener }: OpenedPackBytes,
    bytes: Uint8Array,
    pack: IndexedPack,
    isWanted: (ordinal: number) => boolean,
  ): Promise<void> {
    let offset = packHeaderBytes;
    for (let ordinal = 0; ordinal < pack.count; ordinal++) {
      const sealedLength = pack.sealedLengths[ordinal]!;
      if (isWanted(ordinal)) {
        const blob = {
          ordinal,
          id: pack.ids.slice(ordinal * 32, ordinal * 32 + 32),
          form: pack.forms[ordinal]! as BlobForm,
          plainLength: pack.plainLengths[ordinal]!,
        };
        const opened = opener.openBlob(blob, bytes.subarray(offset, offset + sealedLength));
        const bases = blob.form === 2 ? decodeDelta(opened).bases.map(({ id }) => id.slice()) : [];
        await this.#add(cls, { ...blob, depth: pack.depths[ordinal]!, bytes: opened, bases });
      }
      offset += sealedLength;
    }
  }

  /** Puts what is not full yet. Index objects are the caller's. */
  async finish(): Promise<void> {
    for (const cls of [...this.#builders.keys()]) await this.#close(cls);
  }

  async #add(cls: BlobClass, blob: Parameters<PackBuilder["add"]>[0]): Promise<void> {
    if (this.#builders.get(cls)?.fits(blob.bytes.length, blob.bases.length) === false)
      await this.#close(cls);
    const builder = this.#builders.get(cls) ?? this.#open(cls, blob);
    builder.add(blob);
    this.#builders.set(cls, builder);
    this.blobCount++;
  }

  #open(cls: BlobClass, blob: Parameters<PackBuilder["add"]>[0]): PackBuilder {
    const { keys, id, environment, settings } = this.#repository;
    const publicKey = cls === "data" ? keys.dataBoxPublic : keys.treeBoxPublic;
    const capacity = Math.max(
      packCapacity(settings.pack.targetBytes),
      packBytesFor(blob.bytes.length, blob.bases.length),
    );
    const seal = newPackSeal(publicKey, keys.generation, id, cls, environment.random);
    return new PackBuilder(seal, id, cls, new Uint8Array(capacity));
  }

  async #close(cls: BlobClass): Promise<void> {
    const builder = this.#builders.get(cls);
    this.#builders.delete(cls);
    if (builder === undefined) return;
    const { pack, bytes } = builder.build();
    const name = toHex(pack.name);
    await this.#repository.storage.put("data", name, [bytes]);
    this.packs.push(name);
    this.#indexWriter.add(pack);
  }
}
