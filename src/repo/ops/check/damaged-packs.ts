/** Remembers in the cache folder which packs a check found damaged, so that a repair need not read all again. */
import { LocalHints } from "../local-hints.ts";
import type { Repository } from "../repository.ts";

const hintName = "damaged-packs.json";

export async function loadDamagedPacks({ environment, idHex }: Repository): Promise<Set<string>> {
  const text = await new LocalHints(environment, idHex).read(hintName);
  try {
    const names: unknown = JSON.parse(text ?? "[]");
    return new Set(
      Array.isArray(names) ? names.filter((name): name is string => typeof name === "string") : [],
    );
  } catch {
    return new Set();
  }
}

export async function saveDamagedPacks(
  { environment, idHex }: Repository,
  names: ReadonlySet<string>,
): Promise<void> {
  await new LocalHints(environment, idHex).write(hintName, JSON.stringify([...names]));
}
