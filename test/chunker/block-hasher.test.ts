/** The two twins of the block hash, the keys, and the published function under them. */
import { blake3 } from "@noble/hashes/blake3.js";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  BlockHasher,
  blockBytes,
  PlainBlockHasher,
  type BlockHashing,
} from "../../src/chunker/index.ts";
import { sipHash24 } from "../../src/chunker/siphash.ts";

const bufferBlocks = 8;
const cutKey = new Uint8Array(32).fill(7);

/** A block of one of the shapes at which a hash in vectors could go wrong. */
const block = fc.oneof(
  fc.uint8Array({ minLength: blockBytes, maxLength: blockBytes }),
  fc.constantFrom(0, 1, 0x7f, 0x80, 0xff).map((byte) => new Uint8Array(blockBytes).fill(byte)),
  fc
    .tuple(fc.nat(blockBytes - 1), fc.integer({ min: 1, max: 255 }))
    .map(([at, byte]) => new Uint8Array(blockBytes).fill(byte, at, at + 1)),
);

function hashAll(hasher: BlockHashing, offset: number, blocks: readonly Uint8Array[]) {
  blocks.forEach((bytes, index) => {
    hasher.buffer.set(bytes, offset + index * blockBytes);
  });
  const { values, zero } = hasher.hash(offset, blocks.length);
  return { values: [...values], zero: [...zero], hooks: [...hasher.hookValues()] };
}

describe("BlockHasher and its plain twin", () => {
  test("are equal on any blocks, keys and places in the buffer", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 32, maxLength: 32 }),
        fc.nat(2),
        fc.array(block, { maxLength: 5 }),
        (key, skipped, blocks) => {
          const wasm = BlockHasher.create(key, bufferBlocks * blockBytes);
          const plain = PlainBlockHasher.create(key, bufferBlocks * blockBytes);
          const offset = skipped * blockBytes;
          expect(hashAll(wasm, offset, blocks)).toEqual(hashAll(plain, offset, blocks));
        },
      ),
      { numRuns: 60 },
    );
  });

  for (const Hasher of [BlockHasher, PlainBlockHasher]) {
    test(`${Hasher.name}: zero means every byte of the block`, () => {
      const hasher = Hasher.create(cutKey, 3 * blockBytes);
      expect([...hasher.hash(0, 3).zero]).toEqual([1, 1, 1]);
      hasher.buffer[2 * blockBytes - 1] = 1;
      hasher.buffer[2 * blockBytes] = 0x80;
      expect([...hasher.hash(0, 3).zero]).toEqual([1, 0, 0]);
    });

    test(`${Hasher.name}: any byte of a block, and any bit of the key, changes its value`, () => {
      const hasher = Hasher.create(cutKey, blockBytes);
      const seen = new Set([hasher.hash(0, 1).values[0]]);
      for (let at = 0; at < blockBytes; at += 31) {
        hasher.buffer.fill(0);
        hasher.buffer[at] = 1;
        seen.add(hasher.hash(0, 1).values[0]);
      }
      expect(seen.size).toBe(1 + Math.ceil(blockBytes / 31));
      const otherKey = Uint8Array.from(cutKey);
      otherKey[31]! ^= 0x80;
      seen.add(Hasher.create(otherKey, blockBytes).hash(0, 1).values[0]);
      expect(seen.size).toBe(2 + Math.ceil(blockBytes / 31));
    });

    test(`${Hasher.name}: hook values are unlike cut values, and belong to the last hash`, () => {
      const hasher = Hasher.create(cutKey, 2 * blockBytes);
      hasher.buffer.fill(5, 0, blockBytes);
      const [first] = hasher.hash(0, 2).values;
      const hooks = [...hasher.hookValues()];
      expect(hooks).toHaveLength(2);
      expect(Number(hooks[0]! >> 32n)).not.toBe(first);
      hasher.hash(blockBytes, 1);
      expect([...hasher.hookValues()]).toEqual([hooks[1]]);
    });

    test(`${Hasher.name}: refuses blocks outside the buffer, and keys and buffers of odd sizes`, () => {
      const hasher = Hasher.create(cutKey, 2 * blockBytes);
      for (const [offset, count] of [
        [0, 3],
        [blockBytes, 2],
        [-blockBytes, 1],
        [1, 1],
        [0, -1],
        [0, 0.5],
      ]) {
        expect(() => hasher.hash(offset!, count!)).toThrow(/block/);
      }
      for (const bytes of [0, 1, blockBytes + 1, -blockBytes, 2 ** 31, NaN]) {
        expect(() => Hasher.create(cutKey, bytes)).toThrow("buffer");
      }
      expect(() => Hasher.create(new Uint8Array(31), blockBytes)).toThrow("32 bytes");
    });
  }

  test("hash each buffer for itself: two hashers do not share memory", () => {
    const first = BlockHasher.create(cutKey, blockBytes);
    const second = BlockHasher.create(cutKey, blockBytes);
    first.buffer.fill(1);
    const { zero } = first.hash(0, 1);
    expect([...second.hash(0, 1).zero]).toEqual([1]);
    expect([...zero]).toEqual([0]);
  });

  test("depend on the cut key by named contexts only, so that other uses of it stay apart", () => {
    // The value of one block, built here from the definitions in docs/decisions/0002-chunkers.md.
    const derive = (context: string, dkLen: number) =>
      blake3(cutKey, { context: new TextEncoder().encode(context), dkLen });
    const nhKey = new DataView(derive("ashlar 2026 v1 chunker nh", 4096).buffer);
    let sum = 0n;
    for (let group = 0; group < 4096; group += 32) {
      for (let at = group; at < group + 16; at += 4) {
        sum += BigInt(nhKey.getUint32(at, true)) * BigInt(nhKey.getUint32(at + 16, true));
      }
    }
    const message = new Uint8Array(8);
    new DataView(message.buffer).setBigUint64(0, sum & 0xffffffffffffffffn, true);
    const value = sipHash24(derive("ashlar 2026 v1 chunker cut", 16), message);
    const hook = sipHash24(derive("ashlar 2026 v1 chunker hook", 16), message);
    const hasher = BlockHasher.create(cutKey, blockBytes);
    expect(hasher.hash(0, 1).values[0]).toBe(Number(value >> 32n));
    expect(hasher.hookValues()[0]).toBe(hook);
  });
});

describe("sipHash24", () => {
  // Aumasson and Bernstein, appendix A, and vectors.h of the reference implementation:
  // key 00 01 .. 0f, message 00 01 .. (length - 1), value as 8 bytes little-endian.
  const published: readonly (readonly [number, bigint])[] = [
    [0, 0x726fdb47dd0e0e31n],
    [1, 0x74f839c593dc67fdn],
    [2, 0x0d6c8009d9a94f5an],
    [3, 0x85676696d7fb7e2dn],
    [7, 0xab0200f58b01d137n],
    [8, 0x93f5f5799a932462n],
    [15, 0xa129ca6149be45e5n],
  ];
  for (const [length, value] of published) {
    test(`gives the published value of ${length} bytes`, () => {
      const count = (bytes: number) => Uint8Array.from({ length: bytes }, (_, index) => index);
      expect(sipHash24(count(16), count(length))).toBe(value);
    });
  }
});
