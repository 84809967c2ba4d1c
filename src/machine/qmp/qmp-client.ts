/**
 * QMP, the language in which QEMU is told what to do: JSON lines over a Unix socket.
 *
 * Each command bears an id, its answer bears it too; events come in between. QEMU serves one client of a
 * socket at a time: a second one is let in only when the first has gone, so it waits for its greeting.
 */
import { createConnection, type Socket } from "node:net";
import { FailedError } from "../../errors.ts";
import { isObject, type JsonObject } from "./json.ts";
import { LineSplitter } from "./line-splitter.ts";

export interface QmpOptions {
  /** How long an answer may take. A busy host takes its time; a hung one must not hold us for ever. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
}

/** QEMU refused a command. */
export class QmpCommandError extends FailedError {
  /** GenericError, CommandNotFound, DeviceNotActive, DeviceNotFound, … */
  readonly errorClass: string;
  readonly reason: string;

  constructor(command: string, errorClass: string, reason: string) {
    super(`QEMU refuses ${command}: ${reason}`);
    this.errorClass = errorClass;
    this.reason = reason;
  }
}

interface Waiting {
  readonly command: string;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: Error) => void;
  readonly timer: NodeJS.Timeout;
}

const defaultTimeoutMs = 60_000;
const greetingTimeoutMs = 10_000;

export class QmpClient implements Disposable {
  readonly #socket: Socket;
  readonly #path: string;
  readonly #timeoutMs: number;
  readonly #lines = new LineSplitter();
  readonly #waiting = new Map<number, Waiting>();
  #nextId = 1;
  #failure: Error | undefined;
  #version: JsonObject = {};

  private constructor(socket: Socket, path: string, options: QmpOptions) {
    this.#socket = socket;
    this.#path = path;
    this.#timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
    socket.on("data", (bytes: Buffer) => {
      this.#receive(bytes);
    });
    const ended = (): void => {
      this.#fail(this.#error("it closed the connection: the machine has ended, or was restarted"));
    };
    socket.on("error", (error: NodeJS.ErrnoException) => {
      // A machine that is killed may leave what it has not read.
      if (error.code === "ECONNRESET" || error.code === "EPIPE") ended();
      else this.#fail(this.#error(error.message, { cause: error }));
    });
    socket.on("close", ended);
  }

  /** Connects and leaves negotiation mode. */
  static async connect(path: string, options: QmpOptions = {}): Promise<QmpClient> {
    const socket = createConnection({ path });
    const client = new QmpClient(socket, path, options);
    const stop = (): void => {
      client.#fail(options.signal?.reason as Error);
    };
    options.signal?.addEventListener("abort", stop, { once: true });
    try {
      options.signal?.throwIfAborted();
      const version = await client.#greeting(Math.min(client.#timeoutMs, greetingTimeoutMs));
      if (isObject(version)) client.#version = version;
      await client.execute("qmp_capabilities");
      return client;
    } catch (error) {
      client.close();
      throw error;
    } finally {
      // From here on an interrupt is the caller's to handle: he still has to clean up over this connection.
      options.signal?.removeEventListener("abort", stop);
    }
  }

  /** "7.2.22", for messages. */
  get version(): string {
    const qemu = isObject(this.#version["qemu"]) ? this.#version["qemu"] : {};
    return [qemu["major"], qemu["minor"], qemu["micro"]].map(String).join(".");
  }

  get isOpen(): boolean {
    return this.#failure === undefined;
  }

  /**
   * @returns what QEMU answers
   * @throws {QmpCommandError} when it refuses; FailedError when no answer comes
   */
  execute(command: string, args?: JsonObject, options: QmpOptions = {}): Promise<unknown> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    const id = this.#nextId++;
    const message = { execute: command, ...(args === undefined ? {} : { arguments: args }), id };
    return new Promise((resolve, reject) => {
      const timer = this.#timer(options.timeoutMs ?? this.#timeoutMs, () => {
        this.#waiting.delete(id);
        reject(this.#error(`it did not answer ${command} in time`));
      });
      this.#waiting.set(id, { command, resolve, reject, timer });
      this.#socket.write(`${JSON.stringify(message)}\n`);
    });
  }

  close(): void {
    this.#fail(this.#error("the connection was closed"));
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #greeting(timeoutMs: number): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const timer = this.#timer(timeoutMs, () => {
        const hint = "Another program may be connected to this socket: QEMU serves one at a time";
        this.#fail(this.#error("it sends no greeting", { hint }));
      });
      this.#waiting.set(0, { command: "greeting", resolve, reject, timer });
      if (this.#failure !== undefined) reject(this.#failure);
    });
  }

  #receive(bytes: Buffer): void {
    try {
      for (const line of this.#lines.push(bytes)) {
        // What was destroyed meanwhile says nothing any more.
        if (this.#failure !== undefined) return;
        this.#take(JSON.parse(line) as unknown);
      }
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      this.#fail(this.#error(`it does not speak QMP (${reason})`, { cause: error }));
    }
  }

  #take(message: unknown): void {
    if (!isObject(message)) throw new Error("a line is no object");
    if (isObject(message["QMP"])) {
      this.#settle(0)?.resolve(message["QMP"]["version"]);
      return;
    }
    // Events are nobody's answer.
    if (typeof message["event"] === "string") return;
    const { id, error } = message;
    // An error without id answers something it could not read as a command: it belongs to the oldest one.
    const waiting = this.#settle(
      typeof id === "number" ? id : (this.#waiting.keys().next().value ?? -1),
    );
    // Answers to commands that were given up are dropped.
    if (waiting === undefined) return;
    if (!isObject(error)) waiting.resolve(message["return"]);
    else {
      const [errorClass, reason] = [error["class"], error["desc"]].map((part) =>
        typeof part === "string" ? part : "unknown",
      );
      waiting.reject(new QmpCommandError(waiting.command, errorClass!, reason!));
    }
  }

  #settle(id: number): Waiting | undefined {
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return undefined;
    this.#waiting.delete(id);
    clearTimeout(waiting.timer);
    return waiting;
  }

  #timer(timeoutMs: number, expired: () => void): NodeJS.Timeout {
    return setTimeout(expired, timeoutMs);
  }

  #fail(error: Error): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#socket.destroy();
    for (const { timer, reject } of this.#waiting.values()) {
      clearTimeout(timer);
      reject(error);
    }
    this.#waiting.clear();
  }

  #error(
    reason: string,
    options: { readonly cause?: unknown; readonly hint?: string } = {},
  ): FailedError {
    return new FailedError(`Cannot talk to QEMU at ${this.#path}: ${reason}`, options);
  }
}
