/**
 * Hooks: which chunk first held a block of this value, for a sample of blocks. With them a chunk that
 * has no parent finds its likest known chunk. They only propose: whatever they say, a base's id is
 * checked, so an object that is lost, old or wrong costs bytes, never data.
 *
 *   u32 count ‖ per hook: value 8 ‖ first 8 bytes of the chunk's id
 *
 * A value is SipHash-2-4 under the cutter's hook key; sealed to the tree box key, not signed.
 */
import { assert } from "../../errors.ts";
import { ByteReader } from "./byte-reader.ts";

export interface HookList {
  /** Pairs of low and high half. */
  readonly values: Uint32Array;
  /** The same, of the first 8 bytes of ids, little-endian. */
  readonly prefixes: Uint32Array;
}

const hookBytes = 16;
export const hookCountMax = 1 << 20;

export function encodeHooks({ values, prefixes }: HookList): Uint8Array {
  const count = values.length / 2;
  assert(Number.isInteger(count) && prefixes.length === values.length, "hooks are pairs of pairs");
  assert(count <= hookCountMax, "at most 2^20 hooks an object");
  const bytes = new Uint8Array(4 + count * hookBytes);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, count, true);
  for (let hook = 0; hook < count; hook++) {
    const at = 4 + hook * hookBytes;
    view.setUint32(at, values[2 * hook]!, true);
    view.setUint32(at + 4, values[2 * hook + 1]!, true);
    view.setUint32(at + 8, prefixes[2 * hook]!, true);
    view.setUint32(at + 12, prefixes[2 * hook + 1]!, true);
  }
  return bytes;
}

export function decodeHooks(bytes: Uint8Array): HookList {
  const reader = new ByteReader(bytes, "hooks");
  const count = reader.counted(reader.u32(), hookBytes);
  reader.check(count <= hookCountMax, "it holds too many");
  const values = new Uint32Array(2 * count);
  const prefixes = new Uint32Array(2 * count);
  for (let hook = 0; hook < count; hook++) {
    values[2 * hook] = reader.u32();
    values[2 * hook + 1] = reader.u32();
    prefixes[2 * hook] = reader.u32();
    prefixes[2 * hook + 1] = reader.u32();
  }
  reader.end();
  return { values, prefixes };
}
