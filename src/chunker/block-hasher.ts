/**
 * What both twins of the aligned cutter's hash share: the interface and the keys.
 *
 * A block is 4 KiB, the unit in which guests write. Its value is SipHash-2-4, under one key, of the
 * block's NH under another: NH is fast but its low bits are biased, SipHash makes the value a
 * pseudo-random function that someone who plants blocks in a guest cannot predict. Hook values
 * are another function of the same NH, so that they tell nothing about cuts.
 */
import { blake3 } from "@noble/hashes/blake3.js";
import { assert } from "../errors.ts";
import { utf8Bytes } from "../bytes.ts";

export const blockBytes = 4096;

/** One entry a block; views of the hasher's own memory, valid until its next call of `hash`. */
export interface BlockHashes {
  /** Upper halves of the keyed values: what `cutSegment` compares with the threshold. */
  readonly values: Uint32Array;
  /** 1 where all 4096 bytes are zero. */
  readonly zero: Uint8Array;
}

/** A hasher and the memory it hashes from; not shared between threads. */
export interface BlockHashing {
  /** Read plaintext straight into this; a last partial block must be filled up with zeros. */
  readonly buffer: Uint8Array;
  /**
   * Hashes `blockCount` whole blocks of `buffer`.
   *
   * @param offset bytes from the start of `buffer`, a multiple of 4096
   */
  hash(offset: number, blockCount: number): BlockHashes;
  /** Values of the blocks last hashed, for likeness ("hooks"); valid until the next call of `hash`. */
  hookValues(): BigUint64Array;
}

/** Keys of the parts, all derived from the repository's one cut key. */
export interface CutterKeys {
  /** 4 KiB of NH key words, little-endian. */
  readonly nh: Uint8Array;
  /** 16 bytes each, for SipHash. */
  readonly cut: Uint8Array;
  readonly hook: Uint8Array;
}

/** @param cutKey 32 bytes, secret: with it one can foresee the cuts */
export function deriveCutterKeys(cutKey: Uint8Array): CutterKeys {
  assert(cutKey.length === 32, "a cut key has 32 bytes");
  return {
    nh: derive("ashlar 2026 v1 chunker nh", cutKey, blockBytes),
    cut: derive("ashlar 2026 v1 chunker cut", cutKey, 16),
    hook: derive("ashlar 2026 v1 chunker hook", cutKey, 16),
  };
}

/** What our own callers promise of `hash`'s arguments. */
export function assertBlocks(offset: number, blockCount: number, bufferBytes: number): void {
  assert(
    Number.isSafeInteger(offset) && offset >= 0 && offset % blockBytes === 0,
    "offset of a block",
  );
  assert(
    Number.isSafeInteger(blockCount) &&
      blockCount >= 0 &&
      offset + blockCount * blockBytes <= bufferBytes,
    "blocks lie in the buffer",
  );
}

/** @throws {BugError} unless `bufferBytes` is a positive number of whole blocks, at most 1 GiB */
export function assertBufferBytes(bufferBytes: number): void {
  assert(
    Number.isSafeInteger(bufferBytes) &&
      bufferBytes > 0 &&
      bufferBytes % blockBytes === 0 &&
      bufferBytes <= 2 ** 30,
    "a hasher's buffer is whole blocks, at most 1 GiB",
  );
}

function derive(context: string, key: Uint8Array, length: number): Uint8Array {
  return blake3(key, { context: utf8Bytes(context), dkLen: length });
}
