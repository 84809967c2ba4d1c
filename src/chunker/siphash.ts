/**
 * SipHash-2-4, plainly: the reference for the WASM cutter, one message at a time.
 *
 * @see Aumasson and Bernstein, SipHash: a fast short-input PRF, INDOCRYPT 2012
 */
import { assert } from "../errors.ts";

type State = [bigint, bigint, bigint, bigint];

/** @param key 16 bytes */
export function sipHash24(key: Uint8Array, message: Uint8Array): bigint {
  assert(key.length === 16, "a SipHash key has 16 bytes");
  const [k0, k1] = [word(key, 0), word(key, 8)];
  const state: State = [
    k0 ^ 0x736f6d6570736575n,
    k1 ^ 0x646f72616e646f6dn,
    k0 ^ 0x6c7967656e657261n,
    k1 ^ 0x7465646279746573n,
  ];
  // Whole words, then the rest of the message, zeros, and the length mod 256 in the top byte.
  const padded = new Uint8Array(Math.floor(message.length / 8) * 8 + 8);
  padded.set(message);
  padded[padded.length - 1] = message.length & 0xff;
  for (let at = 0; at < padded.length; at += 8) {
    const m = word(padded, at);
    state[3] ^= m;
    rounds(state, 2);
    state[0] ^= m;
  }
  state[2] ^= 0xffn;
  rounds(state, 4);
  return state[0] ^ state[1] ^ state[2] ^ state[3];
}

function rounds(state: State, count: number): void {
  let [v0, v1, v2, v3] = state;
  for (let round = 0; round < count; round++) {
    v0 = BigInt.asUintN(64, v0 + v1);
    v1 = rotate(v1, 13n) ^ v0;
    v0 = rotate(v0, 32n);
    v2 = BigInt.asUintN(64, v2 + v3);
    v3 = rotate(v3, 16n) ^ v2;
    v0 = BigInt.asUintN(64, v0 + v3);
    v3 = rotate(v3, 21n) ^ v0;
    v2 = BigInt.asUintN(64, v2 + v1);
    v1 = rotate(v1, 17n) ^ v2;
    v2 = rotate(v2, 32n);
  }
  state[0] = v0;
  state[1] = v1;
  state[2] = v2;
  state[3] = v3;
}

function rotate(value: bigint, bits: bigint): bigint {
  return BigInt.asUintN(64, (value << bits) | (value >> (64n - bits)));
}

function word(bytes: Uint8Array, at: number): bigint {
  return new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(at, true);
}
