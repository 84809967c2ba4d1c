/**
 * The first bytes of everything sealed (R16, R17):
 *
 *     0   4  magic "ASHL"
 *     4   2  envelope version, 1
 *     6   4  key generation
 *     10  2  algorithm: how the 32-byte secret is wrapped
 *     12  2  length n of the encapsulated key
 *     14  n  encapsulated key
 *     ..  32 commitment
 *
 * The clear part is the same for every kind; after it comes noise. The commitment is derived from
 * secret, repository and kind: it binds the ciphertext to one key (ChaCha20-Poly1305 alone does not)
 * and tells whoever has the key what kind an object is before anything is decrypted.
 */
import { timingSafeEqual } from "node:crypto";

import { concatBytes } from "../bytes.ts";
import { assert, CorruptionError, UnsupportedFormatError } from "../errors.ts";
import { deriveKey } from "./blake3.ts";
import { wipe } from "./keys.ts";
import { objectKind, type ObjectKindName } from "./kinds.ts";

export const envelopeVersion = 1;
export const commitmentBytes = 32;
export const secretBytes = 32;
const fixedBytes = 14;
const magic = 0x4c485341; // "ASHL", little-endian

/** How the secret is wrapped, with the one length its encapsulated key has. */
export const algorithms = {
  /** libsodium's crypto_box_seal of the secret. */
  box: { code: 1, bytes: 80 },
  /** A salt; the secret is the keyed hash of it. */
  salt: { code: 2, bytes: 32 },
  /** Argon2id: passes u32, memory in bytes u64, salt 16. */
  password: { code: 3, bytes: 28 },
  /** A salt; the secret is the keyed hash of it under the key file's key. */
  keyFile: { code: 4, bytes: 16 },
} as const;

export type Algorithm = keyof typeof algorithms;

export interface Envelope {
  readonly generation: number;
  readonly algorithm: Algorithm;
  readonly encapsulated: Uint8Array;
  readonly commitment: Uint8Array;
}

/** Length of an envelope, commitment included. */
export function envelopeBytes(algorithm: Algorithm): number {
  return fixedBytes + algorithms[algorithm].bytes + commitmentBytes;
}

export function encodeEnvelope(envelope: Envelope): Uint8Array {
  const { generation, algorithm, encapsulated, commitment } = envelope;
  const { code, bytes } = algorithms[algorithm];
  assert(Number.isInteger(generation) && generation >= 0 && generation < 2 ** 32, "generation");
  assert(encapsulated.length === bytes, "length of the encapsulated key");
  assert(commitment.length === commitmentBytes, "length of the commitment");
  const fixed = new Uint8Array(fixedBytes);
  const view = new DataView(fixed.buffer);
  view.setUint32(0, magic, true);
  view.setUint16(4, envelopeVersion, true);
  view.setUint32(6, generation, true);
  view.setUint16(10, code, true);
  view.setUint16(12, bytes, true);
  return concatBytes([fixed, encapsulated, commitment]);
}

/**
 * Reads the envelope at the front of `stored`; its arrays are views of it.
 *
 * @throws {CorruptionError} when there is none
 * @throws {UnsupportedFormatError} for a version or algorithm that this program does not know
 */
export function decodeEnvelope(stored: Uint8Array): Envelope {
  const view = new DataView(stored.buffer, stored.byteOffset, stored.byteLength);
  if (stored.length < fixedBytes || view.getUint32(0, true) !== magic)
    throw new CorruptionError("Cannot open object: it does not begin as a sealed object does");
  const version = view.getUint16(4, true);
  if (version !== envelopeVersion)
    throw new UnsupportedFormatError(
      `Cannot open object: envelope version ${version} is not known, only ${envelopeVersion}`,
      { hint: "Use a newer ashlar." },
    );
  const code = view.getUint16(10, true);
  const algorithm = (Object.keys(algorithms) as Algorithm[]).find(
    (name) => algorithms[name].code === code,
  );
  if (algorithm === undefined)
    throw new UnsupportedFormatError(`Cannot open object: algorithm ${code} is not known`, {
      hint: "Use a newer ashlar.",
    });
  const { bytes } = algorithms[algorithm];
  const end = fixedBytes + bytes;
  if (view.getUint16(12, true) !== bytes || stored.length < end + commitmentBytes)
    throw new CorruptionError(
      "Cannot open object: its envelope is cut short or has a wrong length",
    );
  return {
    generation: view.getUint32(6, true),
    algorithm,
    encapsulated: stored.subarray(fixedBytes, end),
    commitment: stored.subarray(end, end + commitmentBytes),
  };
}

type Purpose = "blob" | "footer" | "padding" | "object" | "commitment";

/** The 32-byte key for one purpose of one secret, in one repository, for one kind. */
export function deriveSubkey(
  purpose: Purpose,
  secret: Uint8Array,
  repoId: Uint8Array,
  kind: ObjectKindName,
): Uint8Array {
  assert(secret.length === secretBytes, "length of the secret");
  assert(repoId.length === 16, "a repository id is 16 bytes");
  const material = concatBytes([secret, repoId, Uint8Array.of(objectKind[kind])]);
  const key = deriveKey(`ashlar 2026 v1 ${purpose}`, material);
  wipe(material);
  return key;
}

/** Whether `envelope` commits to this secret, repository and kind. */
export function commitmentFits(
  envelope: Envelope,
  secret: Uint8Array,
  repoId: Uint8Array,
  kind: ObjectKindName,
): boolean {
  const expected = deriveSubkey("commitment", secret, repoId, kind);
  return timingSafeEqual(expected, envelope.commitment);
}
