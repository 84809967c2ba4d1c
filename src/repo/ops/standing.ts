/**
 * Whose word counts for whose snapshots. A snapshot's host, paths and time are what its writer says, and
 * a writer with a backup key may say anything: so it must not speak for others. Writers with a full key
 * could forget whatever they like, and are one.
 */
import type { Repository } from "./repository.ts";
import type { Snapshot } from "../format/index.ts";

type Signed = Pick<Snapshot, "writer" | "sequence">;

/** Of all writers with a full key. */
export const fullStanding = "full";

export interface Standings {
  /** Equal for snapshots whose writers may speak for each other. */
  of(snapshot: Signed): string;
  /** The name of the key, for people. */
  label(snapshot: Signed): string;
}

export async function loadStandings(repository: Repository): Promise<Standings> {
  const registry = await repository.writerRegistry();
  const cards = new Map(registry.cards.map((card) => [card.writer, card]));
  return {
    of({ writer, sequence }) {
      const last = registry.removedAfter(writer);
      const isTrusted =
        cards.get(writer)?.role === "full" && (last === undefined || sequence <= last);
      return isTrusted ? fullStanding : writer;
    },
    label: ({ writer }) => cards.get(writer)?.label ?? writer.slice(0, 8),
  };
}
