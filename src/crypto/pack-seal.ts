/**
 * Sealing and opening packs (R17):
 *
 *     envelope 126 ‖ sealed blobs ‖ padding ‖ sealed footer ‖ sealed trailer 32
 *
 * Blob:    ChaCha20-Poly1305(key "blob", nonce = ordinal, AAD = repository id 16 ‖ version u16 ‖
 *          class u8 ‖ ordinal u32 ‖ id 32 ‖ form u8 ‖ plain length u32). Its offset is not in it, so
 *          blobs can be sealed before it is known where they will lie.
 * Padding: ChaCha20 keystream, key "padding".
 * Footer:  key "footer", nonce 0, AAD = repository id ‖ version ‖ class ‖ "footer".
 * Trailer: key "footer", nonce 1, the same AAD: footer offset u64 ‖ footer length u32 ‖ count u32.
 *
 * One secret seals one pack, in one process: that is what makes counters safe as nonces.
 */
import { concatBytes, utf8Bytes } from "../bytes.ts";
import { assert, CorruptionError } from "../errors.ts";
import { aeadOpen, aeadSeal, counterNonce, keystream, tagBytes } from "./aead.ts";
import {
  commitmentFits,
  decodeEnvelope,
  deriveSubkey,
  encodeEnvelope,
  envelopeVersion,
  secretBytes,
} from "./envelope.ts";
import { wipe, type FullKeys } from "./keys.ts";
import { blobClassByte, packKind, type BlobClass } from "./kinds.ts";
import type { Random } from "./random.ts";
import { openBox, sealBox } from "./sealed-box.ts";

export const packTrailerBytes = 16 + tagBytes;

/** A new pack's secret and first bytes: plain data, so that it can be posted to a worker. */
export interface PackSeal {
  readonly secret: Uint8Array;
  readonly header: Uint8Array;
}

/** What a sealed blob is bound to. */
export interface BlobPosition {
  readonly ordinal: number;
  readonly id: Uint8Array;
  /** 0 raw, 1 zstd, 2 delta. */
  readonly form: number;
  readonly plainLength: number;
}

export interface PackTrailer {
  readonly footerOffset: number;
  readonly footerLength: number;
  readonly blobCount: number;
}

/** Needs `loadSodium()`. `publicKey` is the class's box key. */
export function newPackSeal(
  publicKey: Uint8Array,
  generation: number,
  repoId: Uint8Array,
  cls: BlobClass,
  random: Random,
): PackSeal {
  const secret = random.bytes(secretBytes);
  const encapsulated = sealBox(secret, publicKey, random);
  const commitment = deriveSubkey("commitment", secret, repoId, packKind(cls));
  const header = encodeEnvelope({ generation, algorithm: "box", encapsulated, commitment });
  return { secret, header };
}

/**
 * Needs `loadSodium()`.
 *
 * @throws {CorruptionError} when the header is of no pack that these keys open
 */
export function openPackHeader(
  header: Uint8Array,
  keys: FullKeys,
  repoId: Uint8Array,
): { cls: BlobClass; secret: Uint8Array } {
  const envelope = decodeEnvelope(header);
  if (envelope.algorithm === "box" && envelope.generation === keys.generation) {
    for (const cls of ["data", "tree"] as const) {
      const [publicKey, secretKey] =
        cls === "data"
          ? [keys.dataBoxPublic, keys.dataBoxSecret]
          : [keys.treeBoxPublic, keys.treeBoxSecret];
      const secret = openBox(envelope.encapsulated, publicKey, secretKey);
      if (secret !== undefined && commitmentFits(envelope, secret, repoId, packKind(cls)))
        return { cls, secret };
    }
  }
  throw new CorruptionError(
    `Cannot open pack: its header (key generation ${envelope.generation}) fits no key of this repository`,
  );
}

/** Fills one pack. Holds keys: call `wipe()` when the pack is whole. */
export class PackSealer {
  readonly #keys: PackKeys;
  #nextOrdinal = 0;

  constructor(seal: Pick<PackSeal, "secret">, repoId: Uint8Array, cls: BlobClass) {
    this.#keys = new PackKeys(seal.secret, repoId, cls);
  }

  /**
   * Seals the next blob to the front of `into`. Ordinals count up from 0 without gaps: none can be
   * used twice, which would be a nonce used twice.
   *
   * @param bytes the blob's stored form (compressed, or a delta with its prefix)
   * @returns bytes written: `bytes.length + 16`
   */
  sealBlob(position: BlobPosition, bytes: Uint8Array, into: Uint8Array): number {
    assert(position.ordinal === this.#nextOrdinal, "blobs are sealed in ordinal order");
    this.#nextOrdinal += 1;
    const blob = this.#keys.key("blob");
    return aeadSeal(
      blob,
      counterNonce(position.ordinal),
      this.#keys.blobAad(position),
      bytes,
      into,
    );
  }

  /** Fills the whole of `into`; called once a pack. */
  fillPadding(into: Uint8Array): void {
    if (into.length > 0) keystream(this.#keys.key("padding"), into);
  }

  /** @returns `plain.length + 16` bytes */
  sealFooter(plain: Uint8Array): Uint8Array {
    const sealed = new Uint8Array(plain.length + tagBytes);
    aeadSeal(this.#keys.key("footer"), counterNonce(0), this.#keys.footerAad, plain, sealed);
    return sealed;
  }

  /** @returns 32 bytes */
  sealTrailer(trailer: PackTrailer): Uint8Array {
    assert(Number.isSafeInteger(trailer.footerOffset), "footer offset");
    const plain = new Uint8Array(packTrailerBytes - tagBytes);
    const view = new DataView(plain.buffer);
    view.setBigUint64(0, BigInt(trailer.footerOffset), true);
    view.setUint32(8, trailer.footerLength, true);
    view.setUint32(12, trailer.blobCount, true);
    const sealed = new Uint8Array(packTrailerBytes);
    aeadSeal(this.#keys.key("footer"), counterNonce(1), this.#keys.footerAad, plain, sealed);
    return sealed;
  }

  wipe(): void {
    this.#keys.wipe();
  }
}

/** Opens the parts of one pack, in any order. */
export class PackOpener {
  readonly #keys: PackKeys;

  constructor(secret: Uint8Array, repoId: Uint8Array, cls: BlobClass) {
    this.#keys = new PackKeys(secret, repoId, cls);
  }

  /** @returns the stored form's bytes @throws {CorruptionError} */
  openBlob(position: BlobPosition, sealed: Uint8Array): Uint8Array {
    const blob = this.#keys.key("blob");
    const nonce = counterNonce(position.ordinal);
    const plain = aeadOpen(blob, nonce, this.#keys.blobAad(position), sealed);
    if (plain === undefined)
      throw new CorruptionError(`Cannot open blob ${position.ordinal}: it does not authenticate`);
    return plain;
  }

  /** @param bytes the pack's last 32 @throws {CorruptionError} */
  openTrailer(bytes: Uint8Array): PackTrailer {
    const plain = aeadOpen(this.#keys.key("footer"), counterNonce(1), this.#keys.footerAad, bytes);
    if (plain?.length !== packTrailerBytes - tagBytes)
      throw new CorruptionError("Cannot open pack: its trailer does not authenticate");
    const view = new DataView(plain.buffer, plain.byteOffset, plain.byteLength);
    const footerOffset = Number(view.getBigUint64(0, true));
    if (!Number.isSafeInteger(footerOffset))
      throw new CorruptionError("Cannot open pack: its footer lies beyond any pack");
    return {
      footerOffset,
      footerLength: view.getUint32(8, true),
      blobCount: view.getUint32(12, true),
    };
  }

  /** @throws {CorruptionError} */
  openFooter(bytes: Uint8Array): Uint8Array {
    const plain = aeadOpen(this.#keys.key("footer"), counterNonce(0), this.#keys.footerAad, bytes);
    if (plain === undefined)
      throw new CorruptionError("Cannot open pack: its footer does not authenticate");
    return plain;
  }

  wipe(): void {
    this.#keys.wipe();
  }
}

/** The keys and associated data of one pack; the blobs' associated data is one array, rewritten. */
class PackKeys {
  readonly footerAad: Uint8Array;
  readonly #subkeys: Readonly<Record<"blob" | "footer" | "padding", Uint8Array>>;
  readonly #aad: Uint8Array;
  readonly #view: DataView;
  #wiped = false;

  constructor(secret: Uint8Array, repoId: Uint8Array, cls: BlobClass) {
    const kind = packKind(cls);
    this.#subkeys = {
      blob: deriveSubkey("blob", secret, repoId, kind),
      footer: deriveSubkey("footer", secret, repoId, kind),
      padding: deriveSubkey("padding", secret, repoId, kind),
    };
    const version = Uint8Array.of(envelopeVersion & 0xff, envelopeVersion >> 8);
    const prefix = concatBytes([repoId, version, Uint8Array.of(blobClassByte(cls))]);
    this.footerAad = concatBytes([prefix, utf8Bytes("footer")]);
    this.#aad = concatBytes([prefix, new Uint8Array(41)]);
    this.#view = new DataView(this.#aad.buffer);
  }

  /** Refused after a wipe: what is sealed with a key of zeros is sealed for nobody. */
  key(purpose: "blob" | "footer" | "padding"): Uint8Array {
    assert(!this.#wiped, "this pack's keys were wiped");
    return this.#subkeys[purpose];
  }

  /** Valid until the next call. */
  blobAad({ ordinal, id, form, plainLength }: BlobPosition): Uint8Array {
    assert(id.length === 32, "a blob id is 32 bytes");
    this.#view.setUint32(19, ordinal, true);
    this.#aad.set(id, 23);
    this.#view.setUint8(55, form);
    this.#view.setUint32(56, plainLength, true);
    return this.#aad;
  }

  wipe(): void {
    this.#wiped = true;
    wipe(...Object.values(this.#subkeys));
  }
}
