/** A TCP proxy on loopback that is slow, cuts, or falls silent; all connections alike, changed while they last. */
import { connect, createServer, type Server, type Socket } from "node:net";
import { Transform, type TransformCallback } from "node:stream";

export interface Faults {
  /** Each chunk waits for so long, in each direction: half a round trip. */
  delayMs?: number;
  /** Both sides are reset after so many bytes from now on, counted in this direction alone. */
  resetAfterBytes?: { readonly direction: "up" | "down"; readonly bytes: number };
  /** Nothing passes any more, and nobody is told. */
  isSilent?: boolean;
}

export class FaultProxy implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #faults: Faults = {};
  #passed = { up: 0, down: 0 };
  #resets = 0;

  private constructor(target: number) {
    this.#server = createServer((near) => {
      this.#join(near, connect(target, "127.0.0.1"));
    });
  }

  static async start(target: number): Promise<FaultProxy> {
    const proxy = new FaultProxy(target);
    await new Promise<void>((resolve) => proxy.#server.listen(0, "127.0.0.1", resolve));
    return proxy;
  }

  get port(): number {
    const address = this.#server.address();
    return typeof address === "object" && address !== null ? address.port : 0;
  }

  /** How often `resetAfterBytes` has struck. */
  get resets(): number {
    return this.#resets;
  }

  get passed(): { readonly up: number; readonly down: number } {
    return { ...this.#passed };
  }

  /** Replaces the faults; bytes are counted anew. */
  set(faults: Faults): void {
    this.#faults = faults;
    this.#passed = { up: 0, down: 0 };
  }

  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #join(near: Socket, far: Socket): void {
    const end = (): void => {
      near.destroy();
      far.destroy();
    };
    for (const socket of [near, far]) {
      socket.setNoDelay(true);
      this.#sockets.add(socket);
      socket.on("error", end);
      socket.on("close", () => {
        this.#sockets.delete(socket);
        end();
      });
    }
    near.pipe(this.#line("up", near, far)).pipe(far);
    far.pipe(this.#line("down", near, far)).pipe(near);
  }

  #line(direction: "up" | "down", near: Socket, far: Socket): Transform {
    // Chunks that wait keep their order, and do not hold up those behind them.
    let last = Promise.resolve();
    let waiting = 0;
    const pass = (chunk: Buffer, _: string, done: TransformCallback): void => {
      const { delayMs, isSilent, resetAfterBytes } = this.#faults;
      if (isSilent === true) return;
      this.#passed[direction] += chunk.length;
      if (
        resetAfterBytes?.direction === direction &&
        this.#passed[direction] > resetAfterBytes.bytes
      ) {
        this.#resets++;
        this.#faults = {};
        near.resetAndDestroy();
        far.resetAndDestroy();
        return;
      }
      if (delayMs === undefined && waiting === 0) {
        done(null, chunk);
        return;
      }
      const due = new Promise((resolve) => setTimeout(resolve, delayMs ?? 0));
      waiting++;
      last = last.then(async () => {
        await due;
        waiting--;
        line.push(chunk);
      });
      done();
    };
    const line = new Transform({ transform: pass, readableHighWaterMark: 8 * 1024 * 1024 });
    return line;
  }
}
