/**
 * The agent inside a guest: it writes out what the guest's file systems hold back and stops them for a
 * moment, so that a snapshot is one that the guest itself made consistent.
 *
 * It may not be there, or hang: then the moment is as after a loss of power, which file systems survive.
 */
import { createConnection, type Socket } from "node:net";
import { FailedError } from "../errors.ts";
import { isObject } from "./qmp/json.ts";
import { LineSplitter } from "./qmp/line-splitter.ts";

const answerTimeoutMs = 3_000;
/** Writing out takes a while; Windows lets go by itself after ten seconds. */
const freezeTimeoutMs = 10_000;

export class GuestAgent implements Disposable {
  readonly #socket: Socket;
  #lines = new LineSplitter();
  #take: (line: string) => void = () => undefined;
  #fail: (error: Error) => void = () => undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (bytes: Buffer) => {
      try {
        for (const line of this.#lines.push(bytes)) this.#take(line);
      } catch (error) {
        this.#fail(error instanceof Error ? error : new Error(String(error)));
      }
    });
    socket.on("error", (error) => {
      this.#fail(error);
    });
    socket.on("close", () => {
      this.#fail(new FailedError("the connection was closed"));
    });
  }

  /** @param token  a number that no earlier talk has used @throws when no agent answers */
  static async connect(path: string, token: number): Promise<GuestAgent> {
    const agent = new GuestAgent(createConnection({ path }));
    try {
      // What an earlier client left half said ends here: 0xFF is in no JSON.
      agent.#socket.write(Buffer.of(0xff));
      const answer = await agent.#ask(
        "guest-sync-delimited",
        { id: token },
        answerTimeoutMs,
        token,
      );
      if (answer !== token) throw new FailedError("it answers something else");
      return agent;
    } catch (error) {
      agent.close();
      throw error;
    }
  }

  /** @returns how many file systems are frozen */
  async freeze(): Promise<number> {
    const count = await this.#ask("guest-fsfreeze-freeze", {}, freezeTimeoutMs);
    return typeof count === "number" ? count : 0;
  }

  async thaw(): Promise<void> {
    await this.#ask("guest-fsfreeze-thaw", {}, freezeTimeoutMs);
  }

  async isFrozen(): Promise<boolean> {
    return (await this.#ask("guest-fsfreeze-status", {}, answerTimeoutMs)) === "frozen";
  }

  close(): void {
    this.#socket.destroy();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** @param wanted  answers other than this are of earlier questions */
  #ask(
    command: string,
    args: Readonly<Record<string, unknown>>,
    timeoutMs: number,
    wanted?: number,
  ): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#fail(new FailedError(`the guest agent does not answer ${command}`));
      }, timeoutMs);
      this.#fail = (error) => {
        clearTimeout(timer);
        reject(error);
      };
      this.#take = (line) => {
        const answer = parsed(line);
        if (answer === undefined || (wanted !== undefined && answer["return"] !== wanted)) return;
        clearTimeout(timer);
        const { error } = answer;
        if (!isObject(error)) resolve(answer["return"]);
        else
          reject(
            new FailedError(`the guest agent refuses ${command}: ${JSON.stringify(error["desc"])}`),
          );
      };
      this.#socket.write(`${JSON.stringify({ execute: command, arguments: args })}\n`);
    });
  }
}

/** Answers begin with 0xFF after a synchronization; what is no answer is passed over. */
function parsed(line: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value = JSON.parse(line.replace(/^\ufffd+/, "")) as unknown;
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
