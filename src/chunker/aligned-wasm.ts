/**
 * The aligned cutter's hash at memory speed: chunker-wasm/aligned-cutter.ts on a memory of its own.
 *
 * The buffer that is hashed is WASM memory, so a caller that reads a disk into it saves a copy.
 * Layout of the memory, from address 0:
 *
 *     NH key 4096 | cut key 16 | hook key 16 | sums 8 n | hooks 8 n | values 4 n | zero n | buffer 4096 n
 *
 * with n the blocks of the buffer, which starts at a multiple of 4096.
 */
import {
  assertBlocks,
  assertBufferBytes,
  blockBytes,
  deriveCutterKeys,
  type BlockHashes,
  type BlockHashing,
} from "./block-hasher.ts";
import { compileWasm, type WasmMemory } from "./wasm-module.ts";

interface AlignedCutter {
  readonly memory: WasmMemory;
  hashBlocks(blocks: number, count: number, key: number, sums: number, zeros: number): void;
  cutValues(sums: number, count: number, key: number, out: number): void;
  hookValues(sums: number, count: number, key: number, out: number): void;
}

const pageBytes = 65_536;
const cutKeyAt = blockBytes;
const hookKeyAt = cutKeyAt + 16;
const sumsAt = hookKeyAt + 16;

let instantiate: (() => unknown) | undefined;

export class BlockHasher implements BlockHashing {
  readonly buffer: Uint8Array;
  readonly #cutter: AlignedCutter;
  readonly #bufferAt: number;
  readonly #values: Uint32Array;
  readonly #zero: Uint8Array;
  readonly #hooks: BigUint64Array;
  #hashedCount = 0;

  private constructor(cutter: AlignedCutter, bufferBytes: number) {
    const blockCount = bufferBytes / blockBytes;
    const hooksAt = sumsAt + 8 * blockCount;
    const valuesAt = hooksAt + 8 * blockCount;
    const zeroAt = valuesAt + 4 * blockCount;
    const bufferAt = Math.ceil((zeroAt + blockCount) / blockBytes) * blockBytes;
    cutter.memory.grow(
      Math.ceil((bufferAt + bufferBytes - cutter.memory.buffer.byteLength) / pageBytes),
    );
    // The views stay valid: this memory never grows again.
    const memory = cutter.memory.buffer;
    this.buffer = new Uint8Array(memory, bufferAt, bufferBytes);
    this.#cutter = cutter;
    this.#bufferAt = bufferAt;
    this.#hooks = new BigUint64Array(memory, hooksAt, blockCount);
    this.#values = new Uint32Array(memory, valuesAt, blockCount);
    this.#zero = new Uint8Array(memory, zeroAt, blockCount);
  }

  /** @param bufferBytes a multiple of 4096, at most 1 GiB */
  static create(cutKey: Uint8Array, bufferBytes: number): BlockHasher {
    assertBufferBytes(bufferBytes);
    // The same path from src/chunker and from dist/chunker.
    instantiate ??= compileWasm(new URL("../../assets/aligned-cutter.wasm", import.meta.url));
    const cutter = instantiate() as AlignedCutter;
    const hasher = new BlockHasher(cutter, bufferBytes);
    const keys = deriveCutterKeys(cutKey);
    const memory = new Uint8Array(cutter.memory.buffer);
    memory.set(keys.nh, 0);
    memory.set(keys.cut, cutKeyAt);
    memory.set(keys.hook, hookKeyAt);
    return hasher;
  }

  hash(offset: number, blockCount: number): BlockHashes {
    assertBlocks(offset, blockCount, this.buffer.length);
    const { byteOffset: zeroAt } = this.#zero;
    this.#cutter.hashBlocks(this.#bufferAt + offset, blockCount, 0, sumsAt, zeroAt);
    this.#cutter.cutValues(sumsAt, blockCount, cutKeyAt, this.#values.byteOffset);
    this.#hashedCount = blockCount;
    return {
      values: this.#values.subarray(0, blockCount),
      zero: this.#zero.subarray(0, blockCount),
    };
  }

  hookValues(): BigUint64Array {
    this.#cutter.hookValues(sumsAt, this.#hashedCount, hookKeyAt, this.#hooks.byteOffset);
    return this.#hooks.subarray(0, this.#hashedCount);
  }
}
