/** Every night leaves a few hooks behind: many small objects become few, without chunks that are gone. */
import { getHooks, type HookObjectContext, putHooks } from "../../blobs/index.ts";
import type { BlobIndex } from "../../blob-index/index.ts";
import { hookCountMax } from "../../format/index.ts";
import { isDiskFull } from "./sweep.ts";

/** Fewer are left alone. */
const smallObjectsMost = 8;
/** Of stored bytes; a full object has some 4 MiB. */
const smallBytes = 1024 * 1024;

export async function tidyHooks(context: HookObjectContext, index: BlobIndex): Promise<void> {
  const small = index
    .protocolObjects()
    .filter(({ kind, size }) => kind === "hooks" && size < smallBytes);
  if (small.length <= smallObjectsMost) return;
  const values: number[] = [];
  const prefixes: number[] = [];
  const known = new Set<number>();
  for (const { name } of small) {
    const list = await getHooks(context, name);
    for (let at = 0; at < (list?.values.length ?? 0); at += 2) {
      const [low, high] = [list!.values[at]!, list!.values[at + 1]!];
      // 53 of the 64 bits tell blocks apart well enough for a proposal.
      const key = (high & 0x1fffff) * 2 ** 32 + low;
      const prefix = list!.prefixes.subarray(at, at + 2);
      if (known.has(key) || !isStored(index, prefix)) continue;
      known.add(key);
      values.push(low, high);
      prefixes.push(prefix[0]!, prefix[1]!);
    }
  }
  try {
    for (let from = 0; from < values.length; from += 2 * hookCountMax) {
      await putHooks(context, {
        values: Uint32Array.from(values.slice(from, from + 2 * hookCountMax)),
        prefixes: Uint32Array.from(prefixes.slice(from, from + 2 * hookCountMax)),
      });
    }
  } catch (error) {
    if (isDiskFull(error)) return; // They are only many.
    throw error;
  }
  for (const { name } of small) await context.storage.delete("index", name);
}

function isStored(index: BlobIndex, prefix: Uint32Array): boolean {
  const bytes = new Uint8Array(8);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, prefix[0]!, true);
  view.setUint32(4, prefix[1]!, true);
  return index.lookupPrefix("data", bytes).length > 0;
}
