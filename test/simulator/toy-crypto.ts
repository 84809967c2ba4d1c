/**
 * Elliptic curves that cost nothing and protect nothing: most of a tiny run's time would go to
 * libsodium's. What is sealed for a key still opens with that key alone, what is signed still verifies
 * only unchanged; so the program runs as it is, and ten thousand runs fit into minutes.
 */
import { hash as hashOnce } from "node:crypto";
import { loadSodium, sodium } from "../../src/crypto/sodium.ts";

const tagBytes = 16;

/** Stands for src/crypto/blake3.ts: native hashers cost the garbage collector more than they hash. */
export const toyBlake3 = {
  blake3: () => ({ name: "portable", keyed, deriveKey }),
  blake3Keyed: keyed,
  deriveKey,
};

function keyed(key: Uint8Array, bytes: Uint8Array): Uint8Array {
  return digest(Buffer.concat([key, bytes]));
}

function deriveKey(context: string, material: Uint8Array): Uint8Array {
  return digest(Buffer.concat([Buffer.from(context), material]));
}

/** Keys are derived from the same few secrets again and again. */
const remembered = new Map<string, Uint8Array>();
const rememberedMost = 100_000;
const rememberedBytesMost = 256;

function digest(bytes: Buffer): Uint8Array {
  if (bytes.length > rememberedBytesMost)
    return new Uint8Array(hashOnce("sha256", bytes, "buffer"));
  const text = bytes.toString("latin1");
  let known = remembered.get(text);
  if (known === undefined) {
    if (remembered.size === rememberedMost) remembered.clear();
    known = new Uint8Array(hashOnce("sha256", bytes, "buffer"));
    remembered.set(text, known);
  }
  return known.slice(); // the program wipes its keys
}

export async function useToyCrypto(): Promise<void> {
  await loadSodium();
  Object.assign(sodium(), {
    crypto_sign_seed_keypair: (seed: Uint8Array) => {
      const publicKey = hash("sign", seed);
      return { publicKey, privateKey: joined(seed, publicKey), keyType: "ed25519" };
    },
    crypto_sign_detached: (message: Uint8Array, secret: Uint8Array) =>
      signature(message, secret.subarray(32)),
    crypto_sign_verify_detached: (signed: Uint8Array, message: Uint8Array, key: Uint8Array) =>
      Buffer.compare(signed, signature(message, key)) === 0,
    crypto_box_seed_keypair: (seed: Uint8Array) => {
      const key = hash("box", seed);
      return { publicKey: key, privateKey: key.slice(), keyType: "x25519" };
    },
    crypto_generichash: (bytes: number, message: Uint8Array) =>
      hash("nonce", message).subarray(0, bytes),
    crypto_box_easy: (message: Uint8Array, _nonce: Uint8Array, to: Uint8Array, from: Uint8Array) =>
      box(message, shared(to, from)),
    crypto_box_seal_open: (sealed: Uint8Array, _own: Uint8Array, secret: Uint8Array) =>
      unbox(sealed.subarray(32), shared(sealed.subarray(0, 32), secret)),
  });
}

/** The same whichever half of each pair one has: here the halves are equal. */
function shared(a: Uint8Array, b: Uint8Array): Uint8Array {
  const mixed = new Uint8Array(32);
  for (let at = 0; at < 32; at++) mixed[at] = a[at]! ^ b[at]!;
  return hash("shared", mixed);
}

function box(message: Uint8Array, key: Uint8Array): Uint8Array {
  const masked = message.map((byte, at) => byte ^ key[at % 32]!);
  return joined(tag(masked, key), masked);
}

function unbox(sealed: Uint8Array, key: Uint8Array): Uint8Array {
  const masked = sealed.subarray(tagBytes);
  if (Buffer.compare(tag(masked, key), sealed.subarray(0, tagBytes)) !== 0)
    throw new Error("sealed to another key");
  return masked.map((byte, at) => byte ^ key[at % 32]!);
}

function tag(bytes: Uint8Array, key: Uint8Array): Uint8Array {
  return hash("tag", joined(key, bytes)).subarray(0, tagBytes);
}

function signature(message: Uint8Array, publicKey: Uint8Array): Uint8Array {
  return new Uint8Array(hashOnce("sha512", Buffer.concat([publicKey, message]), "buffer"));
}

function hash(purpose: string, bytes: Uint8Array): Uint8Array {
  return digest(Buffer.concat([Buffer.from(purpose), bytes]));
}

function joined(a: Uint8Array, b: Uint8Array): Uint8Array {
  return new Uint8Array(Buffer.concat([a, b]));
}
