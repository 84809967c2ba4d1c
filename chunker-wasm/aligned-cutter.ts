/**
 * The bulk half of the aligned cutter: NH of every 4 KiB block, then SipHash-2-4 of the NH values.
 *
 * Nothing is allocated here and there is no state: the caller owns the exported memory, lays it out
 * (src/chunker/aligned-wasm.ts) and passes addresses. Its twin in plain TypeScript, and the reasons
 * for these two functions, are src/chunker/plain-block-hasher.ts and docs/decisions/0002-chunkers.md.
 */

const blockBytes: usize = 4096;

/**
 * NH and zero flag of each of `count` blocks at `blocks`.
 *
 * NH pairs words as RFC 4418 (UMAC) does, i with i + 4 in groups of 8, so that a whole vector
 * multiplies another without shuffling words into place:
 * sum over pairs of (m[i] + k[i] mod 2^32) * (m[i+4] + k[i+4] mod 2^32), mod 2^64.
 *
 * @param key   4 KiB of key words
 * @param sums  receives a u64 a block
 * @param zeros receives a byte a block: 1 when every byte of the block is zero
 */
export function hashBlocks(blocks: usize, count: u32, key: usize, sums: usize, zeros: usize): void {
  for (let block: u32 = 0; block < count; block++) {
    let low = i64x2.splat(0);
    let high = i64x2.splat(0);
    let any = i64x2.splat(0);
    // The key lies in the first-level cache; two groups of 8 words a turn keep the multipliers busy.
    for (let at: usize = 0; at < blockBytes; at += 64) {
      const m0 = v128.load(blocks + at, 0);
      const m1 = v128.load(blocks + at, 16);
      const m2 = v128.load(blocks + at, 32);
      const m3 = v128.load(blocks + at, 48);
      any = v128.or(any, v128.or(v128.or(m0, m1), v128.or(m2, m3)));
      const a0 = i32x4.add(m0, v128.load(key + at, 0));
      const a1 = i32x4.add(m1, v128.load(key + at, 16));
      const a2 = i32x4.add(m2, v128.load(key + at, 32));
      const a3 = i32x4.add(m3, v128.load(key + at, 48));
      low = i64x2.add(low, i64x2.extmul_low_i32x4_u(a0, a1));
      high = i64x2.add(high, i64x2.extmul_high_i32x4_u(a0, a1));
      low = i64x2.add(low, i64x2.extmul_low_i32x4_u(a2, a3));
      high = i64x2.add(high, i64x2.extmul_high_i32x4_u(a2, a3));
    }
    const both = i64x2.add(low, high);
    store<u64>(sums, i64x2.extract_lane(both, 0) + i64x2.extract_lane(both, 1));
    store<u8>(zeros, v128.any_true(any) ? 0 : 1);
    blocks += blockBytes;
    sums += 8;
    zeros += 1;
  }
}

/** SipHash-2-4 of each 8-byte sum; `out` receives a u32 a block, the upper half of the value. */
export function cutValues(sums: usize, count: u32, key: usize, out: usize): void {
  const k0 = load<u64>(key, 0);
  const k1 = load<u64>(key, 8);
  for (let block: u32 = 0; block < count; block++) {
    store<u32>(out, <u32>(sipHash(k0, k1, load<u64>(sums)) >> 32));
    sums += 8;
    out += 4;
  }
}

/** SipHash-2-4 of each 8-byte sum; `out` receives the whole u64 a block. */
export function hookValues(sums: usize, count: u32, key: usize, out: usize): void {
  const k0 = load<u64>(key, 0);
  const k1 = load<u64>(key, 8);
  for (let block: u32 = 0; block < count; block++) {
    store<u64>(out, sipHash(k0, k1, load<u64>(sums)));
    sums += 8;
    out += 8;
  }
}

function sipHash(k0: u64, k1: u64, message: u64): u64 {
  let v0: u64 = k0 ^ 0x736f6d6570736575;
  let v1: u64 = k1 ^ 0x646f72616e646f6d;
  let v2: u64 = k0 ^ 0x6c7967656e657261;
  let v3: u64 = k1 ^ 0x7465646279746573;
  // Word 0 is the message, word 1 holds only its length (8) in the top byte; both take 2 rounds, and
  // 4 more follow: 8 in one loop, with what is mixed in between them.
  v3 ^= message;
  for (let round = 0; round < 8; round++) {
    v0 += v1;
    v1 = rotl<u64>(v1, 13) ^ v0;
    v0 = rotl<u64>(v0, 32);
    v2 += v3;
    v3 = rotl<u64>(v3, 16) ^ v2;
    v0 += v3;
    v3 = rotl<u64>(v3, 21) ^ v0;
    v2 += v1;
    v1 = rotl<u64>(v1, 17) ^ v2;
    v2 = rotl<u64>(v2, 32);
    if (round == 1) {
      v0 ^= message;
      v3 ^= (<u64>8) << 56;
    } else if (round == 3) {
      v0 ^= (<u64>8) << 56;
      v2 ^= 0xff;
    }
  }
  return v0 ^ v1 ^ v2 ^ v3;
}
