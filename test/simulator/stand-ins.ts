/** What stands for rooms that a simulated run does without, for `vi.mock` in each of the test files. */
import { pooled } from "./hasher-pool.ts";
import { walkSource } from "./source.ts";
import { toyBlake3 } from "./toy-crypto.ts";

type Module = Readonly<Record<string, unknown>>;

export const blake3Module = (): Module => toyBlake3;

export async function filesModule(original: () => Promise<Module>): Promise<Module> {
  return {
    ...(await original()),
    walk: (_plan: unknown, options: { readonly signal?: AbortSignal }) =>
      walkSource(options.signal),
  };
}

export async function hasherModule(original: () => Promise<Module>): Promise<Module> {
  const module = await original();
  const { BlockHasher } = module as { BlockHasher: { create: Parameters<typeof pooled>[0] } };
  return { ...module, BlockHasher: { create: pooled((...args) => BlockHasher.create(...args)) } };
}
