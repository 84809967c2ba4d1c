/**
 * The aligned cutter's hash in plain TypeScript: what the WASM must equal, and nothing else.
 *
 * Written to be compared with the papers line by line; some hundred times slower than its twin.
 */
import {
  assertBlocks,
  assertBufferBytes,
  blockBytes,
  deriveCutterKeys,
  type BlockHashes,
  type BlockHashing,
  type CutterKeys,
} from "./block-hasher.ts";
import { sipHash24 } from "./siphash.ts";

export class PlainBlockHasher implements BlockHashing {
  readonly buffer: Uint8Array;
  readonly #keys: CutterKeys;
  #sums: Uint8Array[] = [];

  private constructor(keys: CutterKeys, bufferBytes: number) {
    this.buffer = new Uint8Array(bufferBytes);
    this.#keys = keys;
  }

  static create(cutKey: Uint8Array, bufferBytes: number): PlainBlockHasher {
    assertBufferBytes(bufferBytes);
    return new PlainBlockHasher(deriveCutterKeys(cutKey), bufferBytes);
  }

  hash(offset: number, blockCount: number): BlockHashes {
    assertBlocks(offset, blockCount, this.buffer.length);
    this.#sums = [];
    const values = new Uint32Array(blockCount);
    const zero = new Uint8Array(blockCount);
    for (let block = 0; block < blockCount; block++) {
      const at = offset + block * blockBytes;
      const bytes = this.buffer.subarray(at, at + blockBytes);
      const sum = nhSum(bytes, this.#keys.nh);
      this.#sums.push(sum);
      values[block] = Number(sipHash24(this.#keys.cut, sum) >> 32n);
      zero[block] = bytes.every((byte) => byte === 0) ? 1 : 0;
    }
    return { values, zero };
  }

  hookValues(): BigUint64Array {
    return BigUint64Array.from(this.#sums, (sum) => sipHash24(this.#keys.hook, sum));
  }
}

/** NH as RFC 4418 §5.2.2 pairs it, without the length: 8 bytes, little-endian. */
function nhSum(block: Uint8Array, key: Uint8Array): Uint8Array {
  const m = new DataView(block.buffer, block.byteOffset, block.length);
  const k = new DataView(key.buffer, key.byteOffset, key.length);
  const keyed = (word: number) => (m.getUint32(word * 4, true) + k.getUint32(word * 4, true)) >>> 0;
  let sum = 0n;
  for (let group = 0; group < blockBytes / 4; group += 8) {
    for (let word = group; word < group + 4; word++) {
      sum += BigInt(keyed(word)) * BigInt(keyed(word + 4));
    }
  }
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt.asUintN(64, sum), true);
  return bytes;
}
