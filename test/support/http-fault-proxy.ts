/** An HTTP proxy on loopback before a real server: it answers in its place, alters a byte, or falls silent. */
import http from "node:http";
import https from "node:https";
import type { AddressInfo } from "node:net";
import { Transform } from "node:stream";
import { text } from "node:stream/consumers";

export type HttpFault =
  | {
      readonly status: number;
      readonly headers?: Readonly<Record<string, string>>;
      readonly body?: string;
    }
  /** No answer comes, and the connection stays. */
  | "silence"
  /** The answer's body stops in its middle, and the connection stays. */
  | "stall"
  | { readonly flipped: "question" | "answer"; readonly at: number }
  /** The answer's text, told otherwise. */
  | { readonly told: (text: string) => string };

export interface SeenRequest {
  readonly method: string;
  readonly url: string;
  readonly headers: http.IncomingHttpHeaders;
  readonly beganMs: number;
  endedMs: number;
}

export class HttpFaultProxy implements AsyncDisposable {
  readonly seen: SeenRequest[] = [];
  /** Asked for each request; undefined lets it pass. */
  fault: (request: http.IncomingMessage) => HttpFault | undefined = () => undefined;
  /** Each request waits for so long before it is passed on, so that those made side by side overlap. */
  delayMs = 0;
  readonly #server: http.Server | https.Server;
  readonly #target: number;
  readonly #agent = new http.Agent({ keepAlive: true });

  private constructor(target: number, tls: https.ServerOptions | undefined) {
    this.#target = target;
    const listener = (request: http.IncomingMessage, answer: http.ServerResponse): void => {
      this.#pass(request, answer);
    };
    this.#server =
      tls === undefined ? http.createServer(listener) : https.createServer(tls, listener);
  }

  static async start(target: number, tls?: https.ServerOptions): Promise<HttpFaultProxy> {
    const proxy = new HttpFaultProxy(target, tls);
    await new Promise<void>((resolve) => proxy.#server.listen(0, "127.0.0.1", resolve));
    return proxy;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  /** So many requests waited for one another: the longest chain of those that began after the one before had ended. */
  longestChain(): number {
    let count = 0;
    let busyUntil = -Infinity;
    for (const { beganMs, endedMs } of [...this.seen].sort((a, b) => a.endedMs - b.endedMs)) {
      if (beganMs < busyUntil) continue;
      count++;
      busyUntil = endedMs;
    }
    return count;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#agent.destroy();
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #pass(request: http.IncomingMessage, answer: http.ServerResponse): void {
    const { method = "", url = "", headers } = request;
    const seen = { method, url, headers, beganMs: performance.now(), endedMs: Infinity };
    this.seen.push(seen);
    answer.once("finish", () => {
      seen.endedMs = performance.now();
    });
    const fault = this.fault(request);
    if (fault === "silence") {
      request.resume();
      return;
    }
    if (typeof fault === "object" && "status" in fault) {
      request.resume();
      request.once("end", () => {
        answer.writeHead(fault.status, fault.headers).end(fault.body);
      });
      return;
    }
    setTimeout(() => {
      this.#forward(request, answer, fault);
    }, this.delayMs);
  }

  #forward(
    request: http.IncomingMessage,
    answer: http.ServerResponse,
    fault: Exclude<HttpFault, "silence"> | undefined,
  ): void {
    const { method = "", url = "", headers } = request;
    const options = { host: "127.0.0.1", port: this.#target, agent: this.#agent };
    const onward = http.request({ ...options, method, path: url, headers }, (got) => {
      if (typeof fault === "object" && "told" in fault) {
        void text(got).then((body) => {
          const told = fault.told(body);
          const type = got.headers["content-type"];
          answer.writeHead(got.statusCode ?? 500, { "content-type": type }).end(told);
        });
        return;
      }
      answer.writeHead(got.statusCode ?? 500, got.headers);
      if (fault === "stall") {
        got.once("data", (chunk: Buffer) => {
          got.pause();
          answer.write(chunk.subarray(0, chunk.length / 2));
        });
      } else if (isFlip(fault, "answer")) got.pipe(flipping(fault.at)).pipe(answer);
      else got.pipe(answer);
    });
    onward.on("error", () => answer.destroy());
    answer.on("close", () => {
      if (!answer.writableFinished) onward.destroy();
    });
    if (isFlip(fault, "question")) request.pipe(flipping(fault.at)).pipe(onward);
    else request.pipe(onward);
  }
}

type Flip = Extract<HttpFault, { readonly flipped: unknown }>;

function isFlip(fault: HttpFault | undefined, flipped: Flip["flipped"]): fault is Flip {
  return typeof fault === "object" && "flipped" in fault && fault.flipped === flipped;
}

function flipping(at: number): Transform {
  let passed = 0;
  return new Transform({
    transform(chunk: Buffer, _, done) {
      if (at >= passed && at < passed + chunk.length) {
        chunk = Buffer.from(chunk);
        chunk[at - passed]! ^= 0x10;
      }
      passed += chunk.length;
      done(null, chunk);
    },
  });
}
