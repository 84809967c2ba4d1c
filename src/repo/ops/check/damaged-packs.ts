/**
 * Which packs are known to be damaged: those that a check of this host has noted in its cache folder,
 * so that a repair need not read all again, and those that a repair has condemned for every host.
 */
import { LocalHints } from "../local-hints.ts";
import type { Protocol } from "../protocol.ts";
import type { Repository } from "../repository.ts";

const hintName = "damaged-packs.json";

/** A mark's reason, when its packs go because they cannot be read, not because nobody needs them. */
export const damagedReason = "damaged";

/** Other marked packs can be read until they are swept. */
export function condemnedPacks({ marks }: Pick<Protocol, "marks">): string[] {
  return marks.filter(({ reason }) => reason === damagedReason).flatMap(({ packs }) => packs);
}

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
