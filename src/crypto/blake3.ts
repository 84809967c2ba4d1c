/**
 * BLAKE3, keyed and for key derivation: native where it loads (3.6 GB/s a core), else the portable
 * @noble/hashes (44 MB/s), which gives the same bytes. Always 32 bytes out.
 *
 * @see https://github.com/BLAKE3-team/BLAKE3-specs, sections 2.3 (modes) and 6.2 (derive_key)
 */
import { createRequire } from "node:module";

import type * as NativeBlake from "@napi-rs/blake-hash";
import { blake3 as nobleBlake3 } from "@noble/hashes/blake3.js";

import { assert } from "../errors.ts";

export interface Blake3 {
  readonly name: "native" | "portable";
  keyed(key: Uint8Array, bytes: Uint8Array): Uint8Array;
  deriveKey(context: string, material: Uint8Array): Uint8Array;
}

export const portableBlake3: Blake3 = {
  name: "portable",
  keyed: (key, bytes) => nobleBlake3(bytes, { key }),
  deriveKey: (context, material) =>
    nobleBlake3(material, { context: new TextEncoder().encode(context) }),
};

/** @returns undefined where no binary for this machine is installed */
export function loadNativeBlake3(): Blake3 | undefined {
  let native: typeof NativeBlake;
  try {
    native = createRequire(import.meta.url)("@napi-rs/blake-hash") as typeof NativeBlake;
  } catch {
    return undefined; // Not for this platform, or installed without optional packages.
  }
  const { Blake3Hasher } = native;
  return {
    name: "native",
    // A hasher a call: its reset() would forget the key.
    keyed: (key, bytes) =>
      Blake3Hasher.newKeyed(asBuffer(key)).update(asBuffer(bytes)).digestBuffer(),
    deriveKey: (context, material) => Blake3Hasher.deriveKey(context, asBuffer(material)),
  };
}

let chosen: Blake3 | undefined;

/** The implementation of this process. */
export function blake3(): Blake3 {
  chosen ??= loadNativeBlake3() ?? portableBlake3;
  return chosen;
}

/** The keyed hash (a MAC) of `bytes`. */
export function blake3Keyed(key: Uint8Array, bytes: Uint8Array): Uint8Array {
  assert(key.length === 32, "a BLAKE3 key is 32 bytes");
  return blake3().keyed(key, bytes);
}

/** 32 bytes from `material`, for the one use that `context` (a constant of the program) names. */
export function deriveKey(context: string, material: Uint8Array): Uint8Array {
  return blake3().deriveKey(context, material);
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
