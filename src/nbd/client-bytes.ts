/** A socket read by exact lengths: small messages, and contents straight to where they belong. */
import type { Duplex } from "node:stream";

/** Beyond it the socket waits: whoever reads slowly slows the server, not fills the memory. */
const queuedBytesMost = 4 << 20;

export class SocketBytes {
  readonly #socket: Duplex;
  readonly #queue: Buffer[] = [];
  #queued = 0;
  #failure: Error | undefined;
  #wake: () => void = () => undefined;
  readonly #onData = (bytes: Buffer): void => {
    this.#queue.push(bytes);
    this.#queued += bytes.length;
    if (this.#queued > queuedBytesMost) this.#socket.pause();
    this.#wake();
  };

  constructor(socket: Duplex) {
    this.#socket = socket;
    socket.on("data", this.#onData);
  }

  /** Whoever reads, now or later, gets this error. */
  fail(error: Error): void {
    this.#failure ??= error;
    this.#wake();
  }

  /** Lets go of the socket: TLS takes it over. @returns whether bytes have come that nobody read */
  release(): boolean {
    this.#socket.off("data", this.#onData);
    return this.#queued > 0;
  }

  /** @returns memory of the caller's own */
  async read(length: number): Promise<Buffer> {
    const into = Buffer.allocUnsafe(length);
    await this.readInto(into);
    return into;
  }

  async readInto(into: Uint8Array): Promise<void> {
    for (let at = 0; at < into.length;) {
      const first = this.#queue[0];
      if (first === undefined) {
        await this.#more();
        continue;
      }
      const count = Math.min(first.length, into.length - at);
      into.set(count === first.length ? first : first.subarray(0, count), at);
      at += count;
      this.#queued -= count;
      if (count === first.length) this.#queue.shift();
      else this.#queue[0] = first.subarray(count);
      if (this.#queued <= queuedBytesMost && this.#socket.isPaused()) this.#socket.resume();
    }
  }

  async #more(): Promise<void> {
    if (this.#failure !== undefined) throw this.#failure;
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    this.#wake = () => undefined;
  }
}
