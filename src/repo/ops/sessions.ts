/**
 * A session is a run's lease: while it lives, no collector deletes what it may depend on (gc.md).
 *
 * Each refresh is a new object in locks/ that names the one before it. A run that could not refresh
 * for half its time to live fences itself: it must not commit any more.
 */
import { toHex } from "../../bytes.ts";
import { BackendError, FailedError } from "../../errors.ts";
import { encodeSession, type SessionKind, type SessionState } from "../format/index.ts";
import { repeat } from "./environment.ts";
import type { Repository } from "./repository.ts";
import { putRecord } from "./sealed-records.ts";

export const refreshIntervalMs = 5 * 60_000;
export const sessionTtlMs = 30 * 60_000;

export class Session {
  /** 32 hexadecimal digits. */
  readonly id: string;
  readonly kind: SessionKind;
  readonly #repository: Repository;
  readonly #pins: readonly string[];
  #findReleased: (() => Promise<readonly string[]>) | undefined;
  #ackedMarks: readonly string[] = [];
  #number = 0;
  #newest: string | undefined;
  #previous: string | undefined;
  #refreshedAt = { now: 0, elapsed: 0 };
  #stopRefreshing: () => void = () => undefined;
  /** One object after the other. */
  #puts: Promise<void> = Promise.resolve();
  #acknowledging: Promise<void> | undefined;
  #lastFailure: unknown;
  /** How old the lease was when it was found too old; undefined while all is well. */
  #lapsedMs: number | undefined;

  private constructor(repository: Repository, kind: SessionKind, pins: readonly string[]) {
    this.#repository = repository;
    this.id = toHex(repository.environment.random.bytes(16));
    this.kind = kind;
    this.#pins = pins;
  }

  /** Puts the first object and refreshes from then on, until `end`. */
  static async start(
    repository: Repository,
    kind: SessionKind,
    pins: readonly string[] = [],
  ): Promise<Session> {
    const session = new Session(repository, kind, pins);
    await session.#put("active");
    const { clock } = repository.environment;
    session.#stopRefreshing = repeat(clock, refreshIntervalMs, () => {
      void session.#inTurn(() => session.#refresh());
    });
    return session;
  }

  /**
   * A reader's session; undefined where the storage or the key gives no right to put. Then the
   * collector's grace is all that keeps what is read.
   */
  static async startReader(
    repository: Repository,
    pins: readonly string[],
  ): Promise<Session | undefined> {
    try {
      return await Session.start(repository, "reader", pins);
    } catch (error) {
      if (!(error instanceof BackendError)) throw error;
      repository.environment.note(
        `Reading without a session (${error.message}): what a prune marked more than its grace ago may go`,
      );
      return undefined;
    }
  }

  /**
   * From the next refresh on it also says which marks it depends on no pack of, so that sweeps need not
   * wait for its end.
   *
   * @param findReleased  names of the marks, of those that are there now
   */
  acknowledgeMarks(findReleased: () => Promise<readonly string[]>): void {
    this.#findReleased = findReleased;
  }

  /** @throws {FailedError} when the lease has lapsed, for good: nothing may be put or committed on it */
  assertAlive(): void {
    this.#noteAge();
    if (this.#lapsedMs === undefined) return;
    throw new FailedError(
      `Cannot go on: the session could not be refreshed for ${Math.round(this.#lapsedMs / 60_000)} minutes`,
      {
        hint: "Did the machine sleep? Run again: what was stored is kept and will not be sent again",
        cause: this.#lastFailure,
      },
    );
  }

  /** Refreshes now if it is more than a minute old: before a commit. */
  async refreshBeforeCommit(): Promise<void> {
    await this.#inTurn(async () => {
      this.assertAlive();
      if (this.#ageMs > 60_000) await this.#put("active");
    });
  }

  /**
   * Whether its objects are still there. Any host may delete in locks/, and a restic user may mean well:
   * then prune has not seen this session. The one before counts, since a storage may show the newest late.
   * In turn, since two refreshes on the way would take both away under this look.
   */
  isRecorded(): Promise<boolean> {
    const { storage } = this.#repository;
    return this.#inTurn(async () => {
      for (const name of [this.#newest, this.#previous])
        if (name !== undefined && (await storage.stat("locks", name)) !== undefined) return true;
      return false;
    });
  }

  /** Says that nothing depends on this session any more. */
  async end(state: Exclude<SessionState, "active"> = "ended"): Promise<void> {
    this.#stopRefreshing();
    await this.#acknowledging;
    await this.#inTurn(() => this.#put(state));
  }

  /** As `end`, where all that matters is stored: a storage that fails now must not make it look undone. */
  async endCommitted(): Promise<void> {
    try {
      await this.end();
    } catch (error) {
      if (!(error instanceof BackendError)) throw error;
      this.#repository.environment.note(`${error.message}; the session will expire by itself`);
    }
  }

  /** As `end`, where a failure is on its way already and must not be hidden by another. */
  async abort(): Promise<void> {
    try {
      await this.end("aborted");
    } catch {
      // It expires by itself.
    }
  }

  /** The wall clock counts a suspended machine's sleep, the other cannot be set back: the larger. */
  get #ageMs(): number {
    const { clock } = this.#repository.environment;
    return Math.max(
      clock.now() - this.#refreshedAt.now,
      clock.elapsed() - this.#refreshedAt.elapsed,
    );
  }

  /** A lease that was too old once stays lapsed: a collector may have seen it, and counted without it. */
  #noteAge(): void {
    if (this.#ageMs > sessionTtlMs / 2) this.#lapsedMs ??= this.#ageMs;
  }

  /** @returns what `act` comes to; the next one waits for it either way */
  #inTurn<T>(act: () => Promise<T>): Promise<T> {
    const turn = this.#puts.then(act);
    this.#puts = turn.then(
      () => undefined,
      () => undefined,
    );
    return turn;
  }

  async #refresh(): Promise<void> {
    await this.#putIfAlive();
    // Not waited for: marks may be many and the storage slow, and the next refresh must not be late.
    this.#acknowledging ??= this.#acknowledge().finally(() => {
      this.#acknowledging = undefined;
    });
  }

  async #putIfAlive(): Promise<void> {
    this.#noteAge();
    if (this.#lapsedMs !== undefined) return;
    try {
      await this.#put("active");
    } catch (error) {
      this.#lastFailure = error;
    }
  }

  async #acknowledge(): Promise<void> {
    const before = this.#ackedMarks;
    try {
      this.#ackedMarks = (await this.#findReleased?.()) ?? [];
    } catch (error) {
      this.#lastFailure = error;
    }
    if (this.#ackedMarks.every((name) => before.includes(name))) return;
    await this.#inTurn(() => this.#putIfAlive());
  }

  async #put(state: SessionState): Promise<void> {
    const { environment, storage, writer } = this.#repository;
    const before = { now: environment.clock.now(), elapsed: environment.clock.elapsed() };
    const body = encodeSession({
      session: this.id,
      number: this.#number,
      ...(this.#newest === undefined ? {} : { previous: this.#newest }),
      kind: this.kind,
      state,
      writer: writer.writerId,
      hostname: environment.hostname,
      ...(environment.process === undefined ? {} : { process: environment.process }),
      time: new Date(before.now).toISOString(),
      ttlSeconds: sessionTtlMs / 1000,
      pins: this.#pins,
      ...(this.#ackedMarks.length === 0 ? {} : { ackedMarks: this.#ackedMarks }),
    });
    const name = await putRecord(this.#repository, "session", body);
    const older = this.#previous;
    this.#previous = this.#newest;
    this.#newest = name;
    this.#number++;
    this.#refreshedAt = before;
    // The one before stays: who lists while one comes and another goes would see neither. Older ones
    // say nothing more; where we may not delete, a collector does.
    if (older !== undefined) await storage.delete("locks", older).catch(() => undefined);
  }
}
