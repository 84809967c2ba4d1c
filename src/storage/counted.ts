/** Counts and logs requests: the wrapper nearest to a backend, so that tries are counted, not wishes. */
import type { ByteRange, ObjectInfo, ObjectKind, Storage, StorageCall } from "./storage.ts";
import { lengthOf, WrappedStorage } from "./wrapped.ts";

/** What has gone over the line, both ways; objects' bytes, without what a protocol adds. */
export interface TrafficCounts {
  readonly bytesSent: number;
  readonly bytesReceived: number;
  readonly requests: number;
}

export class Traffic implements TrafficCounts {
  bytesSent = 0;
  bytesReceived = 0;
  requests = 0;
}

/** One request that has ended. */
export interface RequestRecord {
  readonly call: "put" | "get" | "list" | "stat" | "delete";
  readonly kind: ObjectKind;
  /** The object's name, or the prefix of a list. */
  readonly name: string;
  /** Sent or received; of a list how many names came. */
  readonly count: number;
  readonly ms: number;
  readonly outcome: string;
}

export interface CountingOptions {
  readonly traffic: Traffic;
  /** Milliseconds that only go forward. */
  readonly elapsed: () => number;
  readonly onRequest?: ((record: RequestRecord) => void) | undefined;
}

export class CountedStorage extends WrappedStorage {
  readonly #options: CountingOptions;

  constructor(inner: Storage, options: CountingOptions) {
    super(inner);
    this.#options = options;
  }

  override put(
    kind: ObjectKind,
    name: string,
    parts: readonly Uint8Array[],
    call?: StorageCall,
  ): Promise<"created" | "exists"> {
    const bytes = lengthOf(parts);
    return this.#record({ call: "put", kind, name }, async (done) => {
      const answer = await super.put(kind, name, parts, call);
      if (answer === "created") this.#options.traffic.bytesSent += bytes;
      done(answer === "created" ? bytes : 0, answer);
      return answer;
    });
  }

  override get(
    kind: ObjectKind,
    name: string,
    range?: ByteRange,
    call?: StorageCall & { readonly into?: Uint8Array },
  ): Promise<Uint8Array | undefined> {
    return this.#record({ call: "get", kind, name }, async (done) => {
      const bytes = await super.get(kind, name, range, call);
      this.#options.traffic.bytesReceived += bytes?.length ?? 0;
      done(bytes?.length ?? 0, bytes === undefined ? "absent" : "ok");
      return bytes;
    });
  }

  /** One request, though a long list takes several; its time is that spent waiting for names. */
  override async *list(
    kind: ObjectKind,
    call?: StorageCall & { readonly prefix?: string },
  ): AsyncGenerator<ObjectInfo> {
    const { traffic, elapsed, onRequest } = this.#options;
    traffic.requests++;
    let count = 0;
    let ms = 0;
    let outcome = "stopped";
    const listing = super.list(kind, call)[Symbol.asyncIterator]();
    try {
      for (;;) {
        const began = elapsed();
        const next = await listing.next().finally(() => (ms += elapsed() - began));
        if (next.done === true) break;
        count++;
        yield next.value;
      }
      outcome = "ok";
    } catch (error) {
      outcome = failureOf(error);
      throw error;
    } finally {
      await listing.return?.();
      onRequest?.({ call: "list", kind, name: call?.prefix ?? "", count, ms, outcome });
    }
  }

  override stat(
    kind: ObjectKind,
    name: string,
    call?: StorageCall,
  ): Promise<ObjectInfo | undefined> {
    return this.#record({ call: "stat", kind, name }, async (done) => {
      const info = await super.stat(kind, name, call);
      done(0, info === undefined ? "absent" : "ok");
      return info;
    });
  }

  override delete(kind: ObjectKind, name: string, call?: StorageCall): Promise<boolean> {
    return this.#record({ call: "delete", kind, name }, async (done) => {
      const isGone = await super.delete(kind, name, call);
      done(0, isGone ? "ok" : "absent");
      return isGone;
    });
  }

  async #record<T>(
    what: Pick<RequestRecord, "call" | "kind" | "name">,
    act: (done: (count: number, outcome: string) => void) => Promise<T>,
  ): Promise<T> {
    const { traffic, elapsed, onRequest } = this.#options;
    traffic.requests++;
    const began = elapsed();
    const done = (count: number, outcome: string): void => {
      onRequest?.({ ...what, count, ms: elapsed() - began, outcome });
    };
    try {
      return await act(done);
    } catch (error) {
      done(0, failureOf(error));
      throw error;
    }
  }
}

function failureOf(error: unknown): string {
  return `failed: ${error instanceof Error ? error.message : String(error)}`;
}
