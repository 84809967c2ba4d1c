/**
 * libsodium's sealed box with the ephemeral key drawn from our own `Random`: crypto_box_seal draws
 * from the system, and then nothing written could be a golden vector. The bytes are the same format;
 * crypto_box_seal_open opens them.
 *
 * @see https://doc.libsodium.org/public-key_cryptography/sealed_boxes, "Algorithm details"
 */
import { concatBytes } from "../bytes.ts";
import { assert } from "../errors.ts";
import { wipe } from "./keys.ts";
import type { Random } from "./random.ts";
import { sodium } from "./sodium.ts";

/** ephemeral public key ‖ box(message, nonce = BLAKE2b-24(ephemeral ‖ recipient)) */
export function sealBox(message: Uint8Array, publicKey: Uint8Array, random: Random): Uint8Array {
  assert(publicKey.length === 32, "a box key is 32 bytes");
  const { crypto_box_seed_keypair, crypto_generichash, crypto_box_easy } = sodium();
  const seed = random.bytes(32);
  const ephemeral = crypto_box_seed_keypair(seed);
  const nonce = crypto_generichash(24, concatBytes([ephemeral.publicKey, publicKey]), null);
  const box = crypto_box_easy(message, nonce, publicKey, ephemeral.privateKey);
  wipe(seed, ephemeral.privateKey);
  return concatBytes([ephemeral.publicKey, box]);
}

/** @returns undefined when `sealed` was not sealed to this pair */
export function openBox(
  sealed: Uint8Array,
  publicKey: Uint8Array,
  secretKey: Uint8Array,
): Uint8Array | undefined {
  try {
    return sodium().crypto_box_seal_open(sealed, publicKey, secretKey);
  } catch {
    return undefined; // libsodium-wrappers throws a plain Error for a box that does not open.
  }
}
