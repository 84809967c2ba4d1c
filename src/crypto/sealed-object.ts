/**
 * Sealed objects: everything stored but packs and key slots.
 *
 *     envelope ‖ ChaCha20-Poly1305(key "object", nonce 0, AAD = envelope ‖ repository id ‖ kind)
 *
 * Each object has a secret of its own, so its key seals once and the nonce may be zero. The whole has
 * a Padmé length.
 */
import { concatBytes } from "../bytes.ts";
import { assert, CorruptionError } from "../errors.ts";
import { aeadOpen, aeadSeal, counterNonce, tagBytes } from "./aead.ts";
import { blake3Keyed } from "./blake3.ts";
import {
  commitmentFits,
  decodeEnvelope,
  deriveSubkey,
  encodeEnvelope,
  envelopeBytes,
  secretBytes,
  type Envelope,
} from "./envelope.ts";
import { wipe } from "./keys.ts";
import { objectKind, type ObjectKindName } from "./kinds.ts";
import { padContent, unpadContent } from "./padded.ts";
import type { Random } from "./random.ts";
import { openBox, sealBox } from "./sealed-box.ts";

/** A long-lived symmetric key, never used but through a fresh salt (R17). */
export interface SaltKey {
  readonly algorithm: "salt";
  readonly key: Uint8Array;
}

export interface BoxSealKey {
  readonly algorithm: "box";
  readonly publicKey: Uint8Array;
}

export interface BoxOpenKey extends BoxSealKey {
  readonly secretKey: Uint8Array;
}

/** What opens an object; it also seals one. */
export type ObjectKey = SaltKey | BoxOpenKey;

export interface SealContext {
  readonly repoId: Uint8Array;
  readonly generation: number;
  readonly random: Random;
}

export interface OpenContext {
  readonly repoId: Uint8Array;
}

/** @returns the stored bytes, owned by the caller */
export function sealObject(
  kind: ObjectKindName,
  content: Uint8Array,
  key: SaltKey | BoxSealKey,
  context: SealContext,
): Uint8Array {
  const { repoId, generation, random } = context;
  const { secret, encapsulated } = freshSecret(key, random);
  const commitment = deriveSubkey("commitment", secret, repoId, kind);
  const { algorithm } = key;
  const envelope = encodeEnvelope({ generation, algorithm, encapsulated, commitment });
  const padded = padContent(content, envelope.length + tagBytes);
  const stored = new Uint8Array(envelope.length + padded.length + tagBytes);
  stored.set(envelope);
  const objectKey = deriveSubkey("object", secret, repoId, kind);
  const aad = associatedData(envelope, repoId, kind);
  aeadSeal(objectKey, counterNonce(0), aad, padded, stored.subarray(envelope.length));
  wipe(secret, objectKey, padded);
  return stored;
}

/**
 * @returns the content
 * @throws {CorruptionError} when `stored` is not such an object of this repository under this key
 * @throws {UnsupportedFormatError} for an envelope of a newer version
 */
export function openObject(
  kind: ObjectKindName,
  stored: Uint8Array,
  key: ObjectKey,
  context: OpenContext,
): Uint8Array {
  const { repoId } = context;
  const envelope = decodeEnvelope(stored);
  const secret = openSecret(envelope, key);
  if (secret === undefined || !commitmentFits(envelope, secret, repoId, kind))
    throw new CorruptionError(`Cannot open ${kind} object: it is not one under this key`);
  const headerBytes = envelopeBytes(envelope.algorithm);
  const objectKey = deriveSubkey("object", secret, repoId, kind);
  const aad = associatedData(stored.subarray(0, headerBytes), repoId, kind);
  const padded = aeadOpen(objectKey, counterNonce(0), aad, stored.subarray(headerBytes));
  wipe(secret, objectKey);
  if (padded === undefined)
    throw new CorruptionError(`Cannot open ${kind} object: it does not authenticate`);
  return unpadContent(padded);
}

/**
 * Whether an object is of this kind and under this key, told by its commitment alone.
 *
 * @param prefix the object, or at least its first 160 bytes
 * @throws {CorruptionError} when it does not begin as a sealed object does
 */
export function objectIsKind(
  kind: ObjectKindName,
  prefix: Uint8Array,
  key: ObjectKey,
  context: OpenContext,
): boolean {
  const envelope = decodeEnvelope(prefix);
  const secret = openSecret(envelope, key);
  if (secret === undefined) return false;
  const fits = commitmentFits(envelope, secret, context.repoId, kind);
  wipe(secret);
  return fits;
}

/** Whether an object is sealed to a public key, rather than under a salt. @throws {CorruptionError} */
export function isSealedToBox(prefix: Uint8Array): boolean {
  return decodeEnvelope(prefix).algorithm === "box";
}

function freshSecret(
  key: SaltKey | BoxSealKey,
  random: Random,
): { secret: Uint8Array; encapsulated: Uint8Array } {
  if (key.algorithm === "salt") {
    const salt = random.bytes(32);
    return { secret: blake3Keyed(key.key, salt), encapsulated: salt };
  }
  const secret = random.bytes(secretBytes);
  return { secret, encapsulated: sealBox(secret, key.publicKey, random) };
}

function openSecret(envelope: Envelope, key: ObjectKey): Uint8Array | undefined {
  if (envelope.algorithm !== key.algorithm) return undefined;
  if (key.algorithm === "salt") return blake3Keyed(key.key, envelope.encapsulated);
  const secret = openBox(envelope.encapsulated, key.publicKey, key.secretKey);
  assert(secret === undefined || secret.length === secretBytes, "length of a boxed secret");
  return secret;
}

function associatedData(
  envelope: Uint8Array,
  repoId: Uint8Array,
  kind: ObjectKindName,
): Uint8Array {
  return concatBytes([envelope, repoId, Uint8Array.of(objectKind[kind])]);
}
