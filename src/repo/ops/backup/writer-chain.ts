/**
 * A writer's chain of snapshots: each names the one before it and counts on. A host that remembers
 * its own last snapshot notices when the storage has lost or hidden it (R15).
 */
import { loadProtocol } from "../protocol.ts";
import { LocalHints } from "../local-hints.ts";
import type { Repository } from "../repository.ts";
import type { StoredSnapshot } from "../snapshots.ts";

export interface ChainLink {
  readonly sequence: number;
  readonly previous: string | undefined;
}

interface Remembered {
  readonly snapshot: string;
  readonly sequence: number;
}

export class WriterChain {
  readonly #repository: Repository;
  readonly #hints: LocalHints;

  constructor(repository: Repository) {
    this.#repository = repository;
    this.#hints = new LocalHints(repository.environment, repository.idHex);
  }

  /** @returns what is wrong with the storage, when this host's last snapshot is gone and nobody has forgotten it */
  async missingLast(): Promise<string | undefined> {
    const last = await this.#remembered();
    if (last === undefined) return undefined;
    const { storage } = this.#repository;
    if ((await storage.stat("snapshots", last.snapshot)) !== undefined) return undefined;
    const { forgets } = await loadProtocol(this.#repository, ["forget"]);
    if (forgets.some(({ snapshots }) => snapshots.some(({ name }) => name === last.snapshot)))
      return undefined;
    return (
      `The storage does not show snapshot ${last.snapshot.slice(0, 8)}, the last that this host has made, and no record says ` +
      "that it was forgotten: it was lost, or the storage was rolled back or hides it"
    );
  }

  /** @param own  this writer's snapshots as far as the key can read them */
  async next(own: readonly StoredSnapshot[]): Promise<ChainLink> {
    const remembered = await this.#remembered();
    const newest = own.reduce<StoredSnapshot | undefined>(
      (best, snapshot) =>
        best === undefined || snapshot.sequence > best.sequence ? snapshot : best,
      undefined,
    );
    if (newest !== undefined && newest.sequence >= (remembered?.sequence ?? 0)) {
      return { sequence: newest.sequence + 1, previous: newest.id };
    }
    if (remembered !== undefined)
      return { sequence: remembered.sequence + 1, previous: remembered.snapshot };
    if (this.#repository.role === "full") return { sequence: 1, previous: undefined };
    // A backup key that has lost its memory cannot read its own snapshots: seconds are above any count.
    return {
      sequence: Math.floor(this.#repository.environment.clock.now() / 1000),
      previous: undefined,
    };
  }

  async remember(snapshot: string, sequence: number): Promise<void> {
    await this.#hints.write(
      this.#hintName,
      JSON.stringify({ snapshot, sequence } satisfies Remembered),
    );
  }

  /** Each key of this host has a chain of its own. */
  get #hintName(): string {
    return `last-snapshot-${this.#repository.writer.writerId}.json`;
  }

  async #remembered(): Promise<Remembered | undefined> {
    try {
      const text = await this.#hints.read(this.#hintName);
      return text === undefined ? undefined : (JSON.parse(text) as Remembered);
    } catch {
      return undefined;
    }
  }
}
