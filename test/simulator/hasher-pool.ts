/**
 * Block hashers that are used again: each has twelve megabytes of WASM memory, and to have one made for
 * every tiny backup would cost more than all else, most of it in the garbage collector.
 */
import { toHex } from "../../src/bytes.ts";

interface Hasher {
  readonly buffer: Uint8Array;
}

type Create = (cutKey: Uint8Array, bufferBytes: number) => Hasher;

const free = new Map<string, Hasher[]>();
const used: { readonly key: string; readonly hasher: Hasher }[] = [];

/** Stands for `BlockHasher.create`. */
export function pooled(create: Create): Create {
  return (cutKey, bufferBytes) => {
    const key = `${toHex(cutKey)} ${bufferBytes}`;
    const hasher = free.get(key)?.pop() ?? create(cutKey, bufferBytes);
    used.push({ key, hasher });
    return hasher;
  };
}

/** Nobody is at work any more: all may be used again. */
export function recycleHashers(): void {
  for (const { key, hasher } of used.splice(0)) free.set(key, [...(free.get(key) ?? []), hasher]);
}
