/** On storage that holds objects against deletion: what stays is held anew, before its time is over. */
import { objectKinds } from "../../../storage/index.ts";
import type { Repository } from "../repository.ts";

const requestsInFlight = 16;

/**
 * @param goes  packs that are marked: their time may run out
 * @returns how many objects are held for longer now
 */
export async function holdKept(
  { storage }: Repository,
  goes: ReadonlySet<string>,
  signal: AbortSignal | undefined,
): Promise<number> {
  if (storage.traits.holding !== true) return 0;
  let count = 0;
  for (const kind of objectKinds) {
    // Sessions come and go.
    if (kind === "locks") continue;
    const listing = storage.list(kind, { signal })[Symbol.asyncIterator]();
    const holdNext = async (): Promise<void> => {
      for (;;) {
        const next = await listing.next();
        if (next.done === true) return;
        const { name } = next.value;
        if (goes.has(name)) continue;
        if ((await storage.protect?.(kind, name, { signal })) === true) count++;
      }
    };
    await Promise.all(Array.from({ length: requestsInFlight }, holdNext));
  }
  return count;
}
