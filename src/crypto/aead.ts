/**
 * ChaCha20-Poly1305 (RFC 8439) by node:crypto, which is OpenSSL: 1.4 GB/s a core. A key is used for
 * one object or one pack, so nonces are counters.
 */
import { createCipheriv, createDecipheriv } from "node:crypto";

import { assert } from "../errors.ts";

export const tagBytes = 16;
const options = { authTagLength: tagBytes } as const;

/** `counter` as a 96-bit little-endian nonce. */
export function counterNonce(counter: number): Uint8Array {
  assert(Number.isInteger(counter) && counter >= 0 && counter < 2 ** 32, "nonce counter");
  const nonce = new Uint8Array(12);
  new DataView(nonce.buffer).setUint32(0, counter, true);
  return nonce;
}

/** Writes ciphertext and tag to the front of `into`. @returns how many bytes: `plain.length + 16` */
export function aeadSeal(
  key: Uint8Array,
  nonce: Uint8Array,
  aad: Uint8Array,
  plain: Uint8Array,
  into: Uint8Array,
): number {
  const length = plain.length + tagBytes;
  assert(into.length >= length, "no room for the sealed bytes");
  const cipher = createCipheriv("chacha20-poly1305", key, nonce, options);
  cipher.setAAD(aad, { plaintextLength: plain.length });
  into.set(cipher.update(plain));
  cipher.final();
  into.set(cipher.getAuthTag(), plain.length);
  return length;
}

/** @returns the plain bytes, or undefined when `sealed` is not what was sealed with these arguments */
export function aeadOpen(
  key: Uint8Array,
  nonce: Uint8Array,
  aad: Uint8Array,
  sealed: Uint8Array,
): Uint8Array | undefined {
  if (sealed.length < tagBytes) return undefined;
  const plainLength = sealed.length - tagBytes;
  const decipher = createDecipheriv("chacha20-poly1305", key, nonce, options);
  decipher.setAAD(aad, { plaintextLength: plainLength });
  decipher.setAuthTag(sealed.subarray(plainLength));
  const plain = decipher.update(sealed.subarray(0, plainLength));
  try {
    decipher.final();
  } catch {
    plain.fill(0); // Never let bytes out that did not authenticate.
    return undefined;
  }
  return plain;
}

/** Fills `into` with the ChaCha20 keystream of `key`: padding that looks like all the rest. */
export function keystream(key: Uint8Array, into: Uint8Array): void {
  into.fill(0);
  into.set(createCipheriv("chacha20", key, new Uint8Array(16)).update(into));
}
