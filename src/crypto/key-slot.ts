/**
 * Key slots (objects in keys/): the keyring, wrapped by one password or key file.
 *
 *     envelope (kind slot; the secret is the password's or key file's key) ‖ nonce 24
 *     ‖ XChaCha20-Poly1305(key "object", AAD = envelope ‖ repository id ‖ kind)
 *
 * The commitment makes a slot key-committing (R13): one slot cannot be made that opens to different
 * keyrings under two passwords.
 */
import { concatBytes } from "../bytes.ts";
import { assert, CorruptionError } from "../errors.ts";
import { blake3Keyed } from "./blake3.ts";
import {
  algorithms,
  commitmentFits,
  decodeEnvelope,
  deriveSubkey,
  encodeEnvelope,
  envelopeBytes,
  type Envelope,
} from "./envelope.ts";
import { checkArgon2Cost, deriveFromPassword, type Argon2Cost, type Argon2Params } from "./kdf.ts";
import { wipe } from "./keys.ts";
import { objectKind } from "./kinds.ts";
import { padContent, unpadContent } from "./padded.ts";
import type { Random } from "./random.ts";
import { sodium } from "./sodium.ts";

/** What opens a slot. The caller keeps and wipes the bytes. */
export type SlotCredential =
  | { readonly kind: "password"; readonly password: Uint8Array }
  | { readonly kind: "keyFile"; readonly key: Uint8Array };

/** What seals one: a password also says what its derivation may cost. */
export type NewSlotCredential =
  | { readonly kind: "password"; readonly password: Uint8Array; readonly cost: Argon2Cost }
  | { readonly kind: "keyFile"; readonly key: Uint8Array };

const nonceBytes = 24;
const tagBytes = 16;
const saltBytes = 16;

/** Needs `loadSodium()`. @returns the stored bytes */
export async function sealSlot(
  payload: Uint8Array,
  credential: NewSlotCredential,
  context: { repoId: Uint8Array; generation: number; random: Random },
): Promise<Uint8Array> {
  const { repoId, generation, random } = context;
  const salt = random.bytes(saltBytes);
  const encapsulated =
    credential.kind === "password" ? encodeParams({ ...credential.cost, salt }) : salt;
  const secret = await slotSecret(encapsulated, credential);
  const envelope = encodeEnvelope({
    generation,
    algorithm: credential.kind,
    encapsulated,
    commitment: deriveSubkey("commitment", secret, repoId, "slot"),
  });
  const key = deriveSubkey("object", secret, repoId, "slot");
  const padded = padContent(payload, envelope.length + nonceBytes + tagBytes);
  const nonce = random.bytes(nonceBytes);
  const aad = associatedData(envelope, repoId);
  const sealed = sodium().crypto_aead_xchacha20poly1305_ietf_encrypt(padded, aad, null, nonce, key);
  wipe(secret, key, padded);
  return concatBytes([envelope, nonce, sealed]);
}

/**
 * Needs `loadSodium()`. A password costs what the slot says, within bounds.
 *
 * @returns the payload, or undefined when the credential does not fit this slot
 * @throws {CorruptionError} when it fits and the slot is damaged, or `stored` is no slot
 */
export async function openSlot(
  stored: Uint8Array,
  credential: SlotCredential,
  context: { repoId: Uint8Array },
): Promise<Uint8Array | undefined> {
  const { repoId } = context;
  const envelope = decodeSlotEnvelope(stored);
  if (envelope.algorithm !== credential.kind) return undefined;
  const secret = await slotSecret(envelope.encapsulated, credential);
  if (!commitmentFits(envelope, secret, repoId, "slot")) {
    wipe(secret);
    return undefined;
  }
  const key = deriveSubkey("object", secret, repoId, "slot");
  const padded = decrypt(stored, envelopeBytes(envelope.algorithm), repoId, key);
  wipe(secret, key);
  return unpadContent(padded);
}

/** Which credential a slot wants: asked before a derivation is paid for. @throws {CorruptionError} */
export function slotKind(stored: Uint8Array): SlotCredential["kind"] {
  return decodeSlotEnvelope(stored).algorithm;
}

type SlotEnvelope = Envelope & { readonly algorithm: SlotCredential["kind"] };

function decodeSlotEnvelope(stored: Uint8Array): SlotEnvelope {
  const envelope = decodeEnvelope(stored);
  const { algorithm } = envelope;
  if (algorithm !== "password" && algorithm !== "keyFile")
    throw new CorruptionError("Cannot open key slot: the object is no key slot");
  return { ...envelope, algorithm };
}

async function slotSecret(
  encapsulated: Uint8Array,
  credential: SlotCredential,
): Promise<Uint8Array> {
  if (credential.kind === "keyFile") {
    return blake3Keyed(credential.key, encapsulated);
  }
  return deriveFromPassword(credential.password, decodeParams(encapsulated));
}

function decrypt(stored: Uint8Array, at: number, repoId: Uint8Array, key: Uint8Array): Uint8Array {
  const nonce = stored.subarray(at, at + nonceBytes);
  const sealed = stored.subarray(at + nonceBytes);
  const aad = associatedData(stored.subarray(0, at), repoId);
  try {
    return sodium().crypto_aead_xchacha20poly1305_ietf_decrypt(null, sealed, aad, nonce, key);
  } catch {
    // libsodium-wrappers throws plain errors, for a bad tag as for a bad length.
    throw new CorruptionError("Cannot open key slot: it does not authenticate");
  }
}

function associatedData(envelope: Uint8Array, repoId: Uint8Array): Uint8Array {
  return concatBytes([envelope, repoId, Uint8Array.of(objectKind.slot)]);
}

function encodeParams({ opsLimit, memLimitBytes, salt }: Argon2Params): Uint8Array {
  assert(salt.length === saltBytes, "an Argon2 salt is 16 bytes");
  const bytes = new Uint8Array(algorithms.password.bytes);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, opsLimit, true);
  view.setBigUint64(4, BigInt(memLimitBytes), true);
  bytes.set(salt, 12);
  return bytes;
}

function decodeParams(bytes: Uint8Array): Argon2Params {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const params = {
    opsLimit: view.getUint32(0, true),
    memLimitBytes: Number(view.getBigUint64(4, true)),
    salt: bytes.subarray(12),
  };
  checkArgon2Cost(params);
  return params;
}
