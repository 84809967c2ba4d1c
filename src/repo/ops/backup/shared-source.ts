/**
 * One source for several backups at once. They walk in step: each entry, and each piece of a stream, is
 * asked of the source once and given to all; in an image none gets far ahead of the others, so that what
 * one has read the others find in the system's cache, and the disk is read once.
 */

/** One run's share. */
export interface SourceShare {
  /** What `make` yields, as all runs get it; the first who asks makes it. */
  entries<T>(make: () => AsyncIterable<T>): AsyncIterable<T>;
  /** Resolves when no run that reads the same image is far behind this segment. */
  atSegment(index: number): Promise<void>;
}

/** How many segments of an image lie between the first and the last: 64 MiB, which any cache holds. */
const segmentsApart = 16;

export class SharedSource {
  readonly #live: Set<number>;
  /** Segment that each run has come to, in the entry that all are at; Infinity when it is done with it. */
  readonly #positions: number[];
  #waiting: { readonly party: number; readonly index: number; readonly go: () => void }[] = [];
  #broadcast: Broadcast<unknown> | undefined;

  constructor(parties: number) {
    const all = Array.from({ length: parties }, (_, party) => party);
    this.#live = new Set(all);
    this.#positions = all.map(() => 0);
  }

  party(party: number): SourceShare {
    return {
      entries: <T>(make: () => AsyncIterable<T>) => this.#entries(party, make),
      atSegment: (index) => this.#atSegment(party, index),
    };
  }

  /** The run has ended, well or not: the others go on without it. */
  leave(party: number): void {
    this.#live.delete(party);
    this.#broadcast?.leave(party);
    this.#letGo();
  }

  async *#entries<T>(party: number, make: () => AsyncIterable<T>): AsyncGenerator<T> {
    this.#broadcast ??= new Broadcast<unknown>(make(), this.#live);
    const broadcast = this.#broadcast as Broadcast<T>;
    try {
      for (;;) {
        this.#positions[party] = Infinity;
        this.#letGo();
        const next = await broadcast.next(party);
        if (next.done === true) return;
        this.#positions[party] = 0;
        yield next.value;
      }
    } finally {
      broadcast.leave(party);
    }
  }

  async #atSegment(party: number, index: number): Promise<void> {
    this.#positions[party] = Math.max(this.#positions[party]!, index);
    if (!this.#isFarAhead(party, index)) this.#letGo();
    else await new Promise<void>((go) => this.#waiting.push({ party, index, go }));
  }

  #isFarAhead(party: number, index: number): boolean {
    return [...this.#live].some(
      (other) => other !== party && this.#positions[other]! + segmentsApart < index,
    );
  }

  #letGo(): void {
    const waiting = this.#waiting;
    this.#waiting = waiting.filter(({ party, index }) => this.#isFarAhead(party, index));
    for (const waiter of waiting) if (!this.#waiting.includes(waiter)) waiter.go();
  }
}

interface Asker<T> {
  readonly resolve: (next: IteratorResult<T>) => void;
  readonly reject: (error: unknown) => void;
}

/** Gives each item to all who are there; the next is asked for when all have asked. */
class Broadcast<T> {
  readonly #source: AsyncIterator<T>;
  readonly #live: Set<number>;
  readonly #asking = new Map<number, Asker<T>>();

  constructor(source: AsyncIterable<T>, live: Iterable<number>) {
    this.#source = source[Symbol.asyncIterator]();
    this.#live = new Set(live);
  }

  next(party: number): Promise<IteratorResult<T>> {
    return new Promise((resolve, reject) => {
      this.#asking.set(party, { resolve, reject });
      this.#advance();
    });
  }

  leave(party: number): void {
    if (!this.#live.delete(party)) return;
    if (this.#live.size === 0) void this.#source.return?.();
    else this.#advance();
  }

  #advance(): void {
    if (this.#live.size === 0 || [...this.#live].some((party) => !this.#asking.has(party))) return;
    const asking = [...this.#asking.values()];
    this.#asking.clear();
    this.#source.next().then(
      (next) => {
        for (const { resolve } of asking) resolve(next);
      },
      (error: unknown) => {
        for (const { reject } of asking) reject(error);
      },
    );
  }
}
