/**
 * One SSH connection with a few SFTP sessions in it, each its own process on the server: while one waits
 * for its disk, others go on. Made when first needed, and anew after it was cut.
 */
import { BackendError } from "../../errors.ts";
import type { Connection } from "./connect.ts";
import { ConnectionLost, RoundCounter, SftpSession } from "./session.ts";

interface Live {
  readonly connection: Connection;
  readonly sessions: SftpSession[];
  /** How many transfers of much use each session. */
  readonly transfers: Map<SftpSession, number>;
  /** The server lets us have no more of them, or one is on its way. */
  isComplete: boolean;
}

export class SftpSessions {
  readonly counter = new RoundCounter();
  readonly #host: string;
  readonly #connect: () => Promise<Connection>;
  readonly #countMax: number;
  readonly #timeoutMs: number;
  #live: Promise<Live> | undefined;
  #isClosed = false;

  constructor(
    host: string,
    connect: () => Promise<Connection>,
    { countMax, timeoutMs }: { readonly countMax: number; readonly timeoutMs: number },
  ) {
    this.#host = host;
    this.#connect = connect;
    this.#countMax = countMax;
    this.#timeoutMs = timeoutMs;
  }

  /** @param isLong  it moves much: others shall rather use another session */
  async use<T>(isLong: boolean, act: (session: SftpSession) => Promise<T>): Promise<T> {
    const live = await this.#connected();
    const busy = (session: SftpSession): number => live.transfers.get(session) ?? 0;
    const session = live.sessions.reduce((best, other) =>
      busy(other) < busy(best) ||
      (busy(other) === busy(best) && other.requestsInFlight < best.requestsInFlight)
        ? other
        : best,
    );
    if (!isLong) return act(session);
    if (busy(session) > 0 && !live.isComplete) this.#addSession(live);
    live.transfers.set(session, busy(session) + 1);
    try {
      return await act(session);
    } finally {
      live.transfers.set(session, busy(session) - 1);
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    const live = await this.#live?.catch(() => undefined);
    if (live !== undefined) end(live, "the storage was closed");
  }

  async #connected(): Promise<Live> {
    for (;;) {
      if (this.#isClosed) throw new ConnectionLost("the storage was closed");
      const begun = (this.#live ??= this.#begin());
      const live = await begun;
      // A session that fails takes the others with it: they share the socket.
      if (live.sessions.every((session) => session.isUsable)) return live;
      if (this.#live === begun) this.#live = undefined;
      end(live, "the connection was closed");
    }
  }

  async #begin(): Promise<Live> {
    try {
      const connection = await this.#connect();
      try {
        const sessions = [await this.#openSession(connection)];
        const live: Live = {
          connection,
          sessions,
          transfers: new Map(),
          isComplete: this.#countMax === 1,
        };
        connection.client.on("error", (error: Error & { code?: string; level?: string }) => {
          if (error.level === "client-timeout") end(live, "the server has fallen silent");
          else end(live, `the connection was cut (${error.code ?? error.message})`);
        });
        connection.client.on("close", () => {
          end(live, "the connection was cut");
        });
        return live;
      } catch (error) {
        connection.close();
        throw error;
      }
    } catch (error) {
      this.#live = undefined;
      throw error;
    }
  }

  #addSession(live: Live): void {
    live.isComplete = true;
    this.#openSession(live.connection).then(
      (session) => {
        live.sessions.push(session);
        live.isComplete = live.sessions.length >= this.#countMax;
      },
      () => undefined, // MaxSessions of the server: what there is must do
    );
  }

  async #openSession({ client, software }: Connection): Promise<SftpSession> {
    const host = this.#host;
    const stream = await new Promise<Parameters<Parameters<typeof client.subsys>[1]>[1]>(
      (resolve, reject) => {
        const refused = (error: unknown): void => {
          const words = error instanceof Error ? error.message : String(error);
          reject(
            new BackendError(`Cannot use SFTP on ${host}: ${words}`, {
              cause: error,
              temporary: true,
              hint: "Has its sshd a line `Subsystem sftp internal-sftp`?",
            }),
          );
        };
        try {
          client.subsys("sftp", (error, channel) => {
            if (error === undefined) resolve(channel);
            else refused(error);
          });
        } catch (error) {
          refused(error); // the connection was cut just now
        }
      },
    );
    return SftpSession.open(stream, {
      software,
      timeoutMs: this.#timeoutMs,
      counter: this.counter,
    });
  }
}

function end({ sessions, connection }: Live, reason: string): void {
  for (const session of sessions) session.fail(new ConnectionLost(reason));
  connection.close();
}
