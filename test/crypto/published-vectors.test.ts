/** Each primitive against vectors that others published. */
import { createRequire } from "node:module";

import { argon2id } from "@noble/hashes/argon2.js";
import type Sodium from "libsodium-wrappers-sumo";
import { beforeAll, describe, expect, it } from "vitest";

import { fromHex, toHex, utf8Bytes } from "../../src/bytes.ts";
import { aeadOpen, aeadSeal, keystream } from "../../src/crypto/aead.ts";
import { loadNativeBlake3, portableBlake3 } from "../../src/crypto/blake3.ts";
import { deriveFromPassword } from "../../src/crypto/kdf.ts";
import { openBox, sealBox } from "../../src/crypto/sealed-box.ts";
import { loadSodium, sodium } from "../../src/crypto/sodium.ts";
import { fixedRandom } from "../support/fixed-random.ts";

const MiB = 1024 * 1024;
beforeAll(loadSodium);

/** Bytes 0, 1, .. 250, 0, 1, ..: the input of BLAKE3's official vectors. */
function blake3Input(length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, at) => at % 251);
}

// https://github.com/BLAKE3-team/BLAKE3/blob/master/test_vectors/test_vectors.json
const blake3Vectors = [
  {
    length: 0,
    keyed: "92b2b75604ed3c761f9d6f62392c8a9227ad0ea3f09573e783f1498a4ed60d26",
    derived: "2cc39783c223154fea8dfb7c1b1660f2ac2dcbd1c1de8277b0b0dd39b7e50d7d",
  },
  {
    length: 1,
    keyed: "6d7878dfff2f485635d39013278ae14f1454b8c0a3a2d34bc1ab38228a80c95b",
    derived: "b3e2e340a117a499c6cf2398a19ee0d29cca2bb7404c73063382693bf66cb06c",
  },
  {
    length: 1024,
    keyed: "75c46f6f3d9eb4f55ecaaee480db732e6c2105546f1e675003687c31719c7ba4",
    derived: "7356cd7720d5b66b6d0697eb3177d9f8d73a4a5c5e968896eb6a689684302706",
  },
];

describe.each([portableBlake3, loadNativeBlake3()])("BLAKE3 ($name)", (blake3) => {
  it.each(blake3Vectors)("gives the official hashes of $length bytes", ({ length, ...hashes }) => {
    const input = blake3Input(length);
    const context = "BLAKE3 2019-12-27 16:29:52 test vectors context";
    expect(blake3).toBeDefined();
    if (blake3 === undefined) return;
    expect(toHex(blake3.keyed(utf8Bytes("whats the Elvish word for friend"), input))).toBe(
      hashes.keyed,
    );
    expect(toHex(blake3.deriveKey(context, input))).toBe(hashes.derived);
  });
});

describe("ChaCha20-Poly1305", () => {
  it("seals RFC 8439's text as section 2.8.2 does", () => {
    const key = Uint8Array.from({ length: 32 }, (_, at) => 0x80 + at);
    const nonce = fromHex("070000004041424344454647");
    const aad = fromHex("50515253c0c1c2c3c4c5c6c7");
    const plain = utf8Bytes(
      "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.",
    );
    const sealed = new Uint8Array(plain.length + 16);
    expect(aeadSeal(key, nonce, aad, plain, sealed)).toBe(sealed.length);
    expect(toHex(sealed.subarray(0, 16))).toBe("d31a8d34648e60db7b86afbc53ef7ec2");
    expect(toHex(sealed.subarray(plain.length))).toBe("1ae10b594f09e26a7e902ecbd0600691");
    expect(Buffer.from(aeadOpen(key, nonce, aad, sealed) ?? [])).toEqual(Buffer.from(plain));
  });

  it("makes the keystream of RFC 8439's appendix A.1, vector 1", () => {
    const into = new Uint8Array(64).fill(7);
    keystream(new Uint8Array(32), into);
    expect(toHex(into)).toBe(
      "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7" +
        "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586",
    );
  });
});

describe("Ed25519", () => {
  it("signs as RFC 8032's test 1", () => {
    const seed = fromHex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
    const pair = sodium().crypto_sign_seed_keypair(seed);
    expect(toHex(pair.publicKey)).toBe(
      "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    );
    expect(toHex(sodium().crypto_sign_detached(new Uint8Array(0), pair.privateKey))).toBe(
      "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555" +
        "fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    );
  });
});

describe("Argon2id", () => {
  it("is RFC 9106's in the portable reference", () => {
    const tag = argon2id(new Uint8Array(32).fill(1), new Uint8Array(16).fill(2), {
      t: 3,
      m: 32,
      p: 4,
      key: new Uint8Array(8).fill(3),
      personalization: new Uint8Array(12).fill(4),
    });
    expect(toHex(tag)).toBe("0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659");
  });

  it("derives in the worker what that reference derives", async () => {
    const salt = fixedRandom("salt").bytes(16);
    const password = utf8Bytes("pässword");
    const derived = await deriveFromPassword(password, {
      opsLimit: 2,
      memLimitBytes: 8 * MiB,
      salt,
    });
    expect(toHex(derived)).toBe(toHex(argon2id(password, salt, { t: 2, m: 8 * 1024, p: 1 })));
    expect(password).toEqual(utf8Bytes("pässword"));
  });
});

describe("sealed boxes", () => {
  it("made here open in libsodium, and libsodium's open here", () => {
    // The other build of libsodium, so that nothing is shared with the code under test.
    const other = createRequire(import.meta.url)("libsodium-wrappers-sumo") as typeof Sodium;
    return other.ready.then(() => {
      const pair = other.crypto_box_keypair();
      const message = utf8Bytes("thirty-two bytes of a new secret");
      const ours = sealBox(message, pair.publicKey, fixedRandom("box"));
      expect(other.crypto_box_seal_open(ours, pair.publicKey, pair.privateKey)).toEqual(message);
      const theirs = other.crypto_box_seal(message, pair.publicKey);
      expect(openBox(theirs, pair.publicKey, pair.privateKey)).toEqual(message);
      expect(ours).toHaveLength(theirs.length);
    });
  });
});
