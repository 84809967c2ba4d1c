/** One connection's bytes: exact reads, and writes that wait for a slow reader. */
import type { Duplex } from "node:stream";

const zeros = new Uint8Array(256 * 1024);

/** The client went away in the middle, or was too slow in the handshake. */
export class ConnectionEnded extends Error {}

export class ServerStream {
  #stream: Duplex;
  #wake: () => void = () => undefined;
  #ended = false;

  constructor(stream: Duplex) {
    this.#stream = stream;
    this.#listen();
  }

  readonly #woken = (): void => {
    this.#wake();
  };

  readonly #gone = (): void => {
    this.#ended = true;
    this.#wake();
  };

  #listen(): void {
    const stream = this.#stream;
    stream.on("readable", this.#woken);
    for (const event of ["end", "close", "error"]) stream.on(event, this.#gone);
  }

  /**
   * Goes on over what `secure` makes of the stream.
   *
   * @throws {ConnectionEnded} when bytes came before that: somebody else may have put them there
   */
  async secure(secure: (stream: Duplex) => Promise<Duplex>): Promise<void> {
    if (this.#stream.readableLength > 0) throw new ConnectionEnded();
    this.#stream.off("readable", this.#woken);
    this.#stream = await secure(this.#stream);
    this.#listen();
  }

  async read(length: number): Promise<Uint8Array> {
    for (;;) {
      if (length === 0) return new Uint8Array();
      const bytes = this.#stream.read(length) as Buffer | null;
      if (bytes?.length === length) return bytes;
      if (bytes !== null || this.#ended) throw new ConnectionEnded();
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** Lets bytes pass without keeping them. */
  async skip(length: number): Promise<void> {
    for (let left = length; left > 0;) left -= (await this.read(Math.min(left, 16_384))).length;
  }

  /** Resolves when the last of the parts has been handed on; a number stands for that many zeros. */
  async write(parts: readonly (Uint8Array | number)[]): Promise<void> {
    if (this.#ended) throw new ConnectionEnded();
    const stream = this.#stream;
    stream.cork();
    const all = parts.flatMap((part) => (typeof part === "number" ? [...zeroParts(part)] : [part]));
    const written = new Promise<void>((resolve, reject) => {
      all.forEach((part, at) => {
        const isLast = at === all.length - 1;
        stream.write(part, (error) => {
          if (error) reject(new ConnectionEnded());
          else if (isLast) resolve();
        });
      });
    });
    stream.uncork();
    await written;
  }

  /** After what was written; nobody reads any more, so the client's own end would not be noticed. */
  end(): void {
    this.#stream.end(() => {
      this.#stream.destroy();
    });
  }
}

function* zeroParts(length: number): Generator<Uint8Array> {
  for (let left = length; left > 0; left -= zeros.length)
    yield left < zeros.length ? zeros.subarray(0, left) : zeros;
}
