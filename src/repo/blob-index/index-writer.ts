/** Writes index objects: what packs this run stored, every few minutes, so that a killed run is resumed from there. */
import { createHash } from "node:crypto";
import { equalBytes, toHex } from "../../bytes.ts";
import {
  sealObject,
  signContent,
  type BackupKeys,
  type Random,
  type WriterKeys,
} from "../../crypto/index.ts";
import type { Storage } from "../../storage/index.ts";
import { encodeIndexObject, type IndexedPack, type IndexObject } from "../format/index.ts";
import type { BlobIndex } from "./blob-index.ts";
import type { IndexObjectInfo } from "./index-intake.ts";
import { mergeIndexObjects, planMerges, splitPacks } from "./merge-plan.ts";
import { packClaim } from "./run-batch.ts";

const dueAfterMs = 5 * 60 * 1000;
const dueAfterPlainBytes = 4 * 1024 ** 3;
/** Small chunks fill memory before they fill 4 GiB. */
const dueAfterBlobs = 262_144;

export interface IndexWriterOptions {
  readonly storage: Storage;
  readonly keys: BackupKeys;
  readonly repoId: Uint8Array;
  readonly writer: Pick<WriterKeys, "writerId" | "signSecret">;
  readonly random: Random;
  /** 16 bytes. */
  readonly session: Uint8Array | undefined;
  /** Milliseconds; only differences count. */
  readonly clock: () => number;
  /** Is given every object that was written, so that it can free its memory of them. */
  readonly index?: BlobIndex | undefined;
  readonly signal?: AbortSignal | undefined;
  /** How many packs make an object due, of how many that were written; unless given, none do. */
  readonly dueAfterPacks?: ((written: number) => number) | undefined;
}

export class IndexWriter {
  readonly #options: IndexWriterOptions;
  #packs: IndexedPack[] = [];
  #plainBytes = 0;
  #blobCount = 0;
  #packsWritten = 0;
  #lastWriteMs: number;
  #writing: Promise<unknown> = Promise.resolve();
  readonly #written: string[] = [];

  constructor(options: IndexWriterOptions) {
    this.#options = options;
    this.#lastWriteMs = options.clock();
  }

  /** Names of all objects written, oldest first. */
  get written(): readonly string[] {
    return this.#written;
  }

  /** Takes a pack that is durable. */
  add(pack: IndexedPack): void {
    this.#packs.push(pack);
    this.#blobCount += pack.count;
    for (const length of pack.plainLengths) this.#plainBytes += length;
  }

  /** Whether there is enough, or it is long enough ago, to write. */
  due(nowMs: number): boolean {
    if (this.#packs.length === 0) return false;
    const { dueAfterPacks = () => Infinity } = this.#options;
    return (
      this.#packs.length >= dueAfterPacks(this.#packsWritten) ||
      nowMs - this.#lastWriteMs >= dueAfterMs ||
      this.#plainBytes >= dueAfterPlainBytes ||
      this.#blobCount >= dueAfterBlobs
    );
  }

  /**
   * Stores what was added since the last time; one call after the other. What could not be stored is
   * kept for the next call.
   * @returns the name of the last object, undefined when there was nothing to write
   */
  async write(): Promise<string | undefined> {
    const result = this.#writing.then(() => this.#write());
    this.#writing = result.catch(() => undefined);
    return await result;
  }

  /**
   * Merges this writer's own objects by levels; only a full host merges across authors (R2). The
   * objects that it replaces are left to the collector.
   */
  async mergeOwn(index: BlobIndex): Promise<string[]> {
    const { writer } = this.#options;
    const objects = index.indexObjects();
    const replaced = new Set(objects.flatMap(({ replaces }) => replaces));
    const isOwn = (object: IndexObjectInfo): boolean =>
      object.writerId === writer.writerId && !replaced.has(object.name);
    const names: string[] = [];
    for (const group of planMerges(objects.filter(isOwn))) {
      const members = new Map<string, IndexObject>();
      for await (const { name, object } of index.objects(new Set(group))) members.set(name, object);
      const merged = mergeIndexObjects(members, (a, b) =>
        equalBytes(packClaim(a).facts, packClaim(b).facts),
      );
      if (merged === undefined || members.size < 2) continue;
      names.push(await this.#put(merged, index));
    }
    return names;
  }

  async #write(): Promise<string | undefined> {
    const parts = splitPacks(this.#packs);
    this.#packs = [];
    this.#blobCount = 0;
    this.#plainBytes = 0;
    this.#lastWriteMs = this.#options.clock();
    let last: string | undefined;
    while (parts.length > 0) {
      try {
        last = await this.#put(
          { replaces: [], session: this.#options.session, packs: parts[0]! },
          this.#options.index,
        );
      } catch (error) {
        for (const pack of parts.flat()) this.add(pack);
        throw error;
      }
      this.#packsWritten += parts[0]!.length;
      parts.shift();
    }
    return last;
  }

  async #put(object: IndexObject, index: BlobIndex | undefined): Promise<string> {
    const { storage, writer, signal } = this.#options;
    const stored = sealIndexObject(object, this.#options);
    const name = toHex(createHash("sha256").update(stored).digest());
    await storage.put("index", name, [stored], { signal });
    this.#written.push(name);
    await index?.adopt({ name, size: stored.length, writerId: writer.writerId, object });
    return name;
  }
}

/** @returns the bytes to be stored */
export function sealIndexObject(
  object: IndexObject,
  {
    keys,
    repoId,
    writer,
    random,
  }: Pick<IndexWriterOptions, "keys" | "repoId" | "writer" | "random">,
): Uint8Array {
  const content = signContent("index", encodeIndexObject(object), writer, repoId);
  const { generation, indexKey } = keys;
  return sealObject(
    "index",
    content,
    { algorithm: "salt", key: indexKey },
    { repoId, generation, random },
  );
}
