/**
 * Objects behind restic's REST protocol, version 2.
 *
 * What servers do with a POST to a name that is taken (decision 15): `ashlar serve rest` and rest-server
 * refuse it; `rclone serve restic` overwrites unless told otherwise. So one that does not say that it
 * puts exclusively is asked first, and is not taken to decide races.
 */
import { assert, BackendError, CorruptionError, RepositoryNotFoundError } from "../../errors.ts";
import {
  type ByteRange,
  configName,
  type ObjectInfo,
  type ObjectKind,
  type Storage,
  type StorageCall,
  type StorageTraits,
  objectText,
} from "../storage.ts";
import type { HttpAnswer, HttpCalls, HttpRequest } from "./http-calls.ts";
import { BrokenListingError, parseListing } from "./listing.ts";
import { statusError } from "./rest-errors.ts";

const objectName = /^[0-9a-f]{64}$/;
const listType = "application/vnd.x.restic.rest.v2";
/** Sent by our own gateway: a name that is taken is refused, also when two put it at once. */
const exclusiveHeader = "x-ashlar-exclusive-put";
/** No object is nearly as large: 64 MiB packs are the largest. */
const objectBytesMax = 256 * 1024 * 1024;

export class RestStorage implements Storage {
  readonly location: string;
  readonly #calls: HttpCalls;
  #isExclusive = false;
  /** A repository that has been seen may not vanish unnoticed. */
  #hadConfig = false;

  constructor(calls: HttpCalls) {
    this.location = calls.server.display;
    this.#calls = calls;
  }

  get traits(): StorageTraits {
    return { conditionalPut: this.#isExclusive, local: false, paced: true };
  }

  async holdsConfig(): Promise<boolean> {
    const isThere = (await this.stat("config", configName)) !== undefined;
    this.#hadConfig ||= isThere;
    return isThere;
  }

  async makeFolders(): Promise<void> {
    const action = "create repository";
    await this.#call({ method: "POST", path: "?create=true", action }, (answer) => {
      if (!isSuccess(answer)) throw this.#statusError(answer, action);
      this.#isExclusive = answer.headers[exclusiveHeader] === "true";
    });
  }

  async put(
    kind: ObjectKind,
    name: string,
    parts: readonly Uint8Array[],
    call?: StorageCall,
  ): Promise<"created" | "exists"> {
    call?.signal?.throwIfAborted();
    const path = pathOf(kind, name);
    if (!this.#isExclusive && (await this.stat(kind, name, call)) !== undefined) return "exists";
    const action = `store ${objectText(kind, name)}`;
    const refused = await this.#call(
      {
        method: "POST",
        path,
        action,
        body: parts,
        isUrgent: kind === "locks",
        signal: call?.signal,
        headers: binary,
      },
      (answer) => {
        if (isSuccess(answer)) return undefined;
        if ([403, 409, 412].includes(answer.statusCode)) return this.#statusError(answer, action);
        // Its bytes did not arrive as they were sent: they may the next time.
        if ([400, 422].includes(answer.statusCode))
          throw new BackendError(this.#statusError(answer, action).message, { temporary: true });
        throw this.#statusError(answer, action);
      },
    );
    if (refused === undefined) {
      if (kind === "config") this.#hadConfig = true;
      return "created";
    }
    if ((await this.stat(kind, name, call)) !== undefined) return "exists";
    throw refused;
  }

  async get(
    kind: ObjectKind,
    name: string,
    range?: ByteRange,
    call?: StorageCall & { readonly into?: Uint8Array },
  ): Promise<Uint8Array | undefined> {
    call?.signal?.throwIfAborted();
    const path = pathOf(kind, name);
    const action = `read ${objectText(kind, name)}`;
    if (range !== undefined) {
      assert(range.offset >= 0 && range.length >= 0, "a range begins and ends at or after 0");
      assert(
        (call?.into?.length ?? Infinity) >= range.length,
        "a buffer holds the range read into it",
      );
      // HTTP has no way to ask for no bytes.
      if (range.length === 0) return this.#nothingAt(kind, name, range.offset, call);
    }
    const got = await this.#call(
      {
        method: "GET",
        path,
        action,
        signal: call?.signal,
        headers:
          range === undefined
            ? {}
            : { range: `bytes=${range.offset}-${range.offset + range.length - 1}` },
      },
      async (answer) => {
        if (answer.statusCode === 404) return undefined;
        if (range === undefined) {
          if (answer.statusCode !== 200) throw this.#statusError(answer, action);
          return this.#readWhole(answer, action, call?.into);
        }
        if (answer.statusCode === 416) throw endsBefore(kind, name, range);
        const skipped = this.#offsetIn(answer, action, kind, name, range);
        const into = call?.into?.subarray(0, range.length) ?? new Uint8Array(range.length);
        if ((await readBody(this.#calls, answer, into, skipped)) === into.length) return into;
        // Where the server sent the whole, the object itself is too short.
        if (answer.statusCode === 200) throw endsBefore(kind, name, range);
        throw this.#endedEarly(action);
      },
    );
    if (got === undefined) await this.#assertPresent(call);
    return got;
  }

  async *list(
    kind: ObjectKind,
    call?: StorageCall & { readonly prefix?: string },
  ): AsyncGenerator<ObjectInfo> {
    const prefix = call?.prefix ?? "";
    if (kind === "config") {
      const info = await this.stat(kind, configName, call);
      if (info !== undefined && configName.startsWith(prefix)) yield info;
      return;
    }
    const request: HttpRequest = {
      method: "GET",
      path: `${kind}/`,
      action: `list ${kind} objects`,
      headers: { accept: listType },
      signal: call?.signal,
    };
    const { answer } = await this.#calls.open(request);
    let count = 0;
    try {
      if (answer.statusCode === 200) {
        for await (const info of parseListing(this.#calls.chunksOf(answer))) {
          count++;
          if (objectName.test(info.name) && info.name.startsWith(prefix)) yield info;
        }
      } else if (answer.statusCode !== 404) throw this.#statusError(answer, request.action);
    } catch (error) {
      if (error instanceof BrokenListingError)
        throw new BackendError(`Cannot ${request.action} of ${this.location}: ${error.message}`, {
          temporary: true,
        });
      throw this.#calls.failure(error, request);
    } finally {
      if (!answer.readableEnded) answer.destroy();
    }
    // rclone lists nothing, and no error, where the folder or the mount has gone.
    if (count === 0) await this.#assertPresent(call);
  }

  async stat(kind: ObjectKind, name: string, call?: StorageCall): Promise<ObjectInfo | undefined> {
    call?.signal?.throwIfAborted();
    const action = `look at ${objectText(kind, name)}`;
    const request = {
      method: "HEAD",
      path: pathOf(kind, name),
      action,
      signal: call?.signal,
    } as const;
    return this.#call(request, (answer) => {
      this.#isExclusive = answer.headers[exclusiveHeader] === "true";
      if (answer.statusCode === 404) return undefined;
      if (!isSuccess(answer)) throw this.#statusError(answer, action);
      const size = lengthOf(answer);
      if (size === undefined)
        throw new BackendError(`Cannot ${action} in ${this.location}: the server tells no size`);
      return { name, size };
    });
  }

  async delete(kind: ObjectKind, name: string, call?: StorageCall): Promise<boolean> {
    call?.signal?.throwIfAborted();
    const action = `delete ${objectText(kind, name)}`;
    const request = {
      method: "DELETE",
      path: pathOf(kind, name),
      action,
      signal: call?.signal,
    } as const;
    return this.#call(request, (answer) => {
      if (answer.statusCode === 404) return false;
      if (!isSuccess(answer)) throw this.#statusError(answer, action);
      return true;
    });
  }

  close(): Promise<void> {
    this.#calls.close();
    return Promise.resolve();
  }

  #call<T>(request: HttpRequest, read: (answer: HttpAnswer) => Promise<T> | T): Promise<T> {
    return this.#calls.call(request, read);
  }

  #statusError(answer: HttpAnswer, action: string): BackendError {
    return statusError(answer, `Cannot ${action}`, this.#calls.server);
  }

  #endedEarly(action: string): BackendError {
    return new BackendError(`Cannot ${action} in ${this.location}: the answer ended early`, {
      temporary: true,
    });
  }

  async #nothingAt(
    kind: ObjectKind,
    name: string,
    offset: number,
    call: (StorageCall & { readonly into?: Uint8Array }) | undefined,
  ): Promise<Uint8Array | undefined> {
    const info = await this.stat(kind, name, call);
    if (info === undefined) return undefined;
    if (offset > info.size) throw endsBefore(kind, name, { offset, length: 0 });
    return call?.into?.subarray(0, 0) ?? new Uint8Array(0);
  }

  async #readWhole(
    answer: HttpAnswer,
    action: string,
    memory: Uint8Array | undefined,
  ): Promise<Uint8Array> {
    const length = lengthOf(answer);
    if (length === undefined || length > objectBytesMax) {
      const why = length === undefined ? "the server tells no size" : `it has ${length} bytes`;
      throw new BackendError(`Cannot ${action} in ${this.location}: ${why}`);
    }
    assert((memory?.length ?? Infinity) >= length, "a buffer holds the object read into it");
    const into = memory?.subarray(0, length) ?? new Uint8Array(length);
    if ((await readBody(this.#calls, answer, into, 0)) < length) throw this.#endedEarly(action);
    return into;
  }

  /** @returns how many bytes of the answer come before the range */
  #offsetIn(
    answer: HttpAnswer,
    action: string,
    kind: ObjectKind,
    name: string,
    range: ByteRange,
  ): number {
    if (answer.statusCode === 200) return range.offset;
    if (answer.statusCode !== 206) throw this.#statusError(answer, action);
    const match = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(answer.headers["content-range"] ?? "");
    const [first, last] = [Number(match?.[1]), Number(match?.[2])];
    if (first !== range.offset)
      throw new BackendError(
        `Cannot ${action} in ${this.location}: the server sent other bytes than were asked for`,
      );
    if (last < range.offset + range.length - 1) throw endsBefore(kind, name, range);
    return 0;
  }

  /** An object may be absent; a repository that was there may not. */
  async #assertPresent(call: StorageCall | undefined): Promise<void> {
    if (!this.#hadConfig || (await this.stat("config", configName, call)) !== undefined) return;
    throw new RepositoryNotFoundError(
      `Cannot read from repository ${this.location}: it has vanished`,
      { hint: "Has the server's disk been unmounted? Mount it and run again" },
    );
  }
}

const binary = { "content-type": "application/octet-stream" };

function pathOf(kind: ObjectKind, name: string): string {
  const isObject = kind === "config" ? name === configName : objectName.test(name);
  assert(isObject, `an object is named by 64 hexadecimal digits, not ${name}`);
  return kind === "config" ? name : `${kind}/${name}`;
}

function isSuccess(answer: HttpAnswer): boolean {
  return answer.statusCode >= 200 && answer.statusCode < 300;
}

function lengthOf(answer: HttpAnswer): number | undefined {
  const header = answer.headers["content-length"];
  return header !== undefined && /^\d{1,15}$/.test(header) ? Number(header) : undefined;
}

function endsBefore(
  kind: ObjectKind,
  name: string,
  { offset, length }: ByteRange,
): CorruptionError {
  return new CorruptionError(
    `Cannot read ${objectText(kind, name)}: it ends before byte ${offset + length}`,
    { hint: "See: ashlar check" },
  );
}

/** Leaves out the first `skipped` bytes, and reads no further than `into` is long. @returns bytes read into it */
async function readBody(
  calls: HttpCalls,
  answer: HttpAnswer,
  into: Uint8Array,
  skipped: number,
): Promise<number> {
  let at = -skipped;
  for await (const chunk of answer as AsyncIterable<Uint8Array>) {
    await calls.received(answer, chunk.length);
    const wanted = chunk.subarray(Math.max(0, -at), Math.max(0, into.length - at));
    if (wanted.length > 0) into.set(wanted, Math.max(0, at));
    at += chunk.length;
    if (at > into.length) break;
  }
  return Math.max(0, Math.min(at, into.length));
}
