/** Objects in a bucket, under the same names as in a folder: `PREFIX/data/XX/NAME`. */
import { createHash } from "node:crypto";
import type { IncomingMessage } from "node:http";
import { assert, BackendError } from "../../errors.ts";
import { folderOf, isObjectName } from "../layout.ts";
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
import { lengthOf } from "../wrapped.ts";
import { checkRange, endsBefore, memoryFor } from "./answers.ts";
import { ConditionalPuts, isTaken } from "./conditional-puts.ts";
import type { S3Calls, S3Request, Send } from "./s3-calls.ts";
import { isDueAgain, isHeld, readFields, retainUntil, writeFields } from "./s3-fields.ts";
import { PartsBody } from "./s3-http.ts";

/** The most that S3 gives at once. */
const namesAPage = 1000;
/** In a row. */
const emptyPagesMost = 300;

export class S3Storage implements Storage {
  readonly location: string;
  readonly #calls: S3Calls;
  readonly #now: () => number;
  readonly #conditional: ConditionalPuts;
  readonly #readFields: ReturnType<typeof readFields>;
  readonly #writeFields: ReturnType<typeof writeFields>;
  /** Read to see that there is a repository, and asked for right after. */
  #config: Uint8Array | undefined;

  constructor(calls: S3Calls, now: () => number) {
    this.location = calls.location.text;
    this.#calls = calls;
    this.#now = now;
    const { encryption } = calls.options;
    this.#readFields = readFields(encryption, (bytes) => digest("md5", [bytes]).toString("base64"));
    this.#writeFields = writeFields(encryption, (bytes) =>
      digest("md5", [bytes]).toString("base64"),
    );
    this.#conditional = new ConditionalPuts(calls, this.#writeFields);
  }

  get traits(): StorageTraits {
    return {
      conditionalPut: this.#conditional.areHonoured,
      local: false,
      paced: true,
      holding: this.#calls.options.lock !== undefined,
    };
  }

  async holdsConfig(): Promise<boolean> {
    this.#config = await this.get("config", configName);
    return this.#config !== undefined;
  }

  /** @returns whether two puts of one name can be told apart */
  async learnsOfRaces(): Promise<boolean> {
    return (await this.#conditional.support()) === "honoured";
  }

  async put(
    kind: ObjectKind,
    name: string,
    parts: readonly Uint8Array[],
    call?: StorageCall,
  ): Promise<"created" | "exists"> {
    call?.signal?.throwIfAborted();
    const key = this.#keyOf(kind, name);
    const support = await this.#conditional.support();
    if (support !== "honoured" && (await this.stat(kind, name, call)) !== undefined)
      return "exists";
    const { storageClass, lock } = this.#calls.options;
    const fields = {
      ...this.#writeFields,
      ...(storageClass === undefined || kind !== "data"
        ? {}
        : { StorageClass: storageClass as "STANDARD_IA" }),
      ...(isHeld(lock, kind)
        ? {
            ObjectLockMode: lock.mode,
            ObjectLockRetainUntilDate: retainUntil(lock, this.#now()),
            ContentMD5: digest("md5", parts).toString("base64"),
          }
        : {}),
      ...(support === "refused" ? {} : { IfNoneMatch: "*" }),
    };
    const sha256 = digest("sha256", parts).toString("hex");
    const bytes = lengthOf(parts);
    const isUrgent = kind === "locks";
    const request: S3Request<"created" | "exists"> = {
      action: `store ${objectText(kind, name)}`,
      signal: call?.signal,
      answers: (problem) => (isTaken(problem) ? { value: "exists" } : undefined),
    };
    const send: Send<"created" | "exists"> = async (client, sdk, options) => {
      const command = new sdk.PutObjectCommand({
        ...fields,
        Bucket: this.#calls.location.bucket,
        Key: key,
        Body: bytes === 0 ? new Uint8Array(0) : new PartsBody(parts, sha256, isUrgent),
        ContentLength: bytes,
      });
      await client.send(command, options);
      return "created";
    };
    return isUrgent ? this.#calls.call(request, send) : this.#calls.callWithBody(request, send);
  }

  async get(
    kind: ObjectKind,
    name: string,
    range?: ByteRange,
    call?: StorageCall & { readonly into?: Uint8Array },
  ): Promise<Uint8Array | undefined> {
    call?.signal?.throwIfAborted();
    const key = this.#keyOf(kind, name);
    const config = kind === "config" && range === undefined ? this.#config : undefined;
    this.#config = undefined;
    if (config !== undefined && call?.into === undefined) return config;
    if (range !== undefined) {
      assert(range.offset >= 0 && range.length >= 0, "a range begins and ends at or after 0");
      assert(
        (call?.into?.length ?? Infinity) >= range.length,
        "a buffer holds the range read into it",
      );
      // HTTP has no way to ask for no bytes.
      if (range.length === 0) return this.#nothingAt(kind, name, range.offset, call);
    }
    return this.#calls.call<Uint8Array | undefined>(
      {
        action: `read ${objectText(kind, name)}`,
        signal: call?.signal,
        answers: ({ status, code }) => {
          if (status === 416 && range !== undefined) throw endsBefore(kind, name, range);
          return status === 404 && code !== "NoSuchBucket" ? { value: undefined } : undefined;
        },
      },
      async (client, sdk, options) => {
        const command = new sdk.GetObjectCommand({
          ...this.#readFields,
          Bucket: this.#calls.location.bucket,
          Key: key,
          ...(range === undefined
            ? {}
            : { Range: `bytes=${range.offset}-${range.offset + range.length - 1}` }),
        });
        const { Body, ContentLength, ContentRange } = await client.send(command, options);
        const body = Body as unknown as IncomingMessage;
        try {
          if (range === undefined) {
            const into = memoryFor(ContentLength, call?.into, objectText(kind, name));
            return await this.#read(body, into, call?.signal);
          }
          checkRange(ContentRange, kind, name, range);
          const into = call?.into?.subarray(0, range.length) ?? new Uint8Array(range.length);
          return await this.#read(body, into, call?.signal);
        } finally {
          if (!body.readableEnded) body.destroy();
        }
      },
    );
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
    let token: string | undefined;
    let emptyPages = 0;
    do {
      const page = await this.#calls.call(
        { action: `list ${kind} objects`, signal: call?.signal },
        (client, sdk, options) =>
          client.send(
            new sdk.ListObjectsV2Command({
              Bucket: this.#calls.location.bucket,
              Prefix: this.#listPrefix(kind, prefix),
              MaxKeys: namesAPage,
              ...(token === undefined ? {} : { ContinuationToken: token }),
            }),
            options,
          ),
      );
      for (const { Key = "", Size, LastModified } of page.Contents ?? []) {
        const name = Key.slice(Key.lastIndexOf("/") + 1);
        if (!isObjectName(name) || Key !== this.#keyOf(kind, name)) continue;
        if (Size === undefined || !Number.isSafeInteger(Size) || Size < 0) continue;
        yield { name, size: Size, storedMs: LastModified?.getTime() };
      }
      const next = page.IsTruncated === true ? page.NextContinuationToken : undefined;
      emptyPages = (page.Contents ?? []).length === 0 ? emptyPages + 1 : 0;
      if ((next !== undefined && next === token) || emptyPages > emptyPagesMost)
        throw new BackendError(
          `Cannot list ${kind} objects of ${this.location}: the list has no end`,
        );
      token = next;
    } while (token !== undefined);
  }

  async stat(kind: ObjectKind, name: string, call?: StorageCall): Promise<ObjectInfo | undefined> {
    const head = await this.#head(kind, name, call);
    return head === undefined ? undefined : { name, size: head.ContentLength ?? 0 };
  }

  async delete(kind: ObjectKind, name: string, call?: StorageCall): Promise<boolean> {
    // S3 answers alike whether there was one or not.
    if ((await this.stat(kind, name, call)) === undefined) return false;
    await this.#calls.call(
      { action: `delete ${objectText(kind, name)}`, signal: call?.signal },
      (client, sdk, options) =>
        client.send(
          new sdk.DeleteObjectCommand({
            Bucket: this.#calls.location.bucket,
            Key: this.#keyOf(kind, name),
          }),
          options,
        ),
    );
    return true;
  }

  /** Extends how long an object is held, when half of that time is over. */
  async protect(kind: ObjectKind, name: string, call?: StorageCall): Promise<boolean> {
    const { lock } = this.#calls.options;
    if (!isHeld(lock, kind)) return false;
    const head = await this.#head(kind, name, call);
    const nowMs = this.#now();
    if (head === undefined || !isDueAgain(lock, head.ObjectLockRetainUntilDate, nowMs))
      return false;
    // What is held for compliance cannot be held any less.
    const Mode = head.ObjectLockMode === "COMPLIANCE" ? "COMPLIANCE" : lock.mode;
    await this.#calls.call(
      { action: `hold ${objectText(kind, name)}`, signal: call?.signal },
      (client, sdk, options) =>
        client.send(
          new sdk.PutObjectRetentionCommand({
            Bucket: this.#calls.location.bucket,
            Key: this.#keyOf(kind, name),
            Retention: { Mode, RetainUntilDate: retainUntil(lock, nowMs) },
          }),
          options,
        ),
    );
    return true;
  }

  close(): Promise<void> {
    this.#calls.close();
    return Promise.resolve();
  }

  #keyOf(kind: ObjectKind, name: string): string {
    const folder = folderOf(kind, name);
    return `${this.#calls.location.prefix}${folder}${folder === "" ? "" : "/"}${name}`;
  }

  #listPrefix(kind: ObjectKind, prefix: string): string {
    const shard = kind === "data" && prefix.length >= 2 ? `${prefix.slice(0, 2)}/` : "";
    return `${this.#calls.location.prefix}${kind}/${shard}${prefix}`;
  }

  async #head(kind: ObjectKind, name: string, call: StorageCall | undefined) {
    call?.signal?.throwIfAborted();
    const key = this.#keyOf(kind, name);
    return this.#calls.call(
      {
        action: `look at ${objectText(kind, name)}`,
        signal: call?.signal,
        answers: ({ status }) => (status === 404 ? { value: undefined } : undefined),
      },
      async (client, sdk, options) => {
        const command = new sdk.HeadObjectCommand({
          ...this.#readFields,
          Bucket: this.#calls.location.bucket,
          Key: key,
        });
        return await client.send(command, options);
      },
    );
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

  /** @throws {BackendError} temporary when the body is shorter than was said */
  async #read(
    body: IncomingMessage,
    into: Uint8Array,
    signal: AbortSignal | undefined,
  ): Promise<Uint8Array> {
    let at = 0;
    for await (const chunk of body as AsyncIterable<Uint8Array>) {
      if (at + chunk.length > into.length) break;
      into.set(chunk, at);
      at += chunk.length;
      await this.#calls.http.received(body, chunk.length, signal);
    }
    if (at === into.length) return into;
    throw Object.assign(new Error("the answer ended early"), { code: "ECONNRESET" });
  }
}

function digest(algorithm: "sha256" | "md5", parts: readonly Uint8Array[]): Buffer {
  const hash = createHash(algorithm);
  for (const part of parts) hash.update(part);
  return hash.digest();
}
