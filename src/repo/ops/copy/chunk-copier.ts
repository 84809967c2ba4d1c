/**
 * One chunk's way from one repository into another: opened, its id checked, named by the target's key,
 * and sealed there in the form it has. Nothing is compressed anew but a delta whose base lies too deep
 * in the target.
 */
import { concatBytes, toHex } from "../../../bytes.ts";
import type { BlobIndex } from "../../blob-index/index.ts";
import type { BlobReader, BlobWriter, NewBlob, StoredForm } from "../../blobs/index.ts";
import { type DeltaBase, encodeDeltaPrefix } from "../../format/index.ts";
import { IdMemory } from "./id-memory.ts";

export interface ChunkCopierOptions {
  readonly reader: Pick<BlobReader, "readForm" | "readBlob">;
  readonly writer: Pick<BlobWriter, "chunkId" | "storeChunk">;
  readonly index: Pick<BlobIndex, "has" | "lookup">;
  /** Of deltas in the target. */
  readonly depthMost: number;
  /** Is told of each chunk that was read. */
  readonly onRead: (bytes: number) => void;
}

/** Chunks that are read at once; each may hold itself and four bases. */
const copiesMost = 16;
const rememberedMost = 65_536;
/** Depths of chunks that lie in packs which are still being filled. */
const depthsMost = 65_536;

export class ChunkCopier {
  readonly #options: ChunkCopierOptions;
  readonly #known = new IdMemory(rememberedMost);
  readonly #copying = new Map<string, Promise<Uint8Array>>();
  readonly #depths = new Map<string, { readonly id: Uint8Array; readonly depth: number }>();
  readonly #waiting: (() => void)[] = [];
  #free = copiesMost;

  constructor(options: ChunkCopierOptions) {
    this.#options = options;
  }

  /** @returns the chunk's id in the target; it is durable after the writer's flush */
  async copy(id: Uint8Array): Promise<Uint8Array> {
    const known = this.#known.get(id);
    if (known !== undefined) return known;
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await this.#copyOnce(id);
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free++;
      else next();
    }
  }

  /** Bases come here too, in their deltas' turn: a form's bases are less deep, so none waits in a circle. */
  #copyOnce(id: Uint8Array): Promise<Uint8Array> {
    const known = this.#known.get(id);
    if (known !== undefined) return Promise.resolve(known);
    const key = toHex(id);
    const copying = this.#copying.get(key);
    if (copying !== undefined) return copying;
    const copy = this.#copyNow(id).finally(() => this.#copying.delete(key));
    this.#copying.set(key, copy);
    return copy;
  }

  async #copyNow(id: Uint8Array): Promise<Uint8Array> {
    const { reader, writer, index, onRead } = this.#options;
    const stored = await reader.readForm("data", id);
    onRead(stored.plain.length);
    const target = writer.chunkId(stored.plain);
    if (!index.has("data", target)) {
      const form = await this.#formFor(stored);
      if (await writer.storeChunk(target, stored.plain, form))
        this.#rememberDepth(target, form?.depth ?? 0);
    }
    this.#known.set(id, target);
    return target;
  }

  /** @returns undefined where the chunk must be compressed by itself */
  async #formFor({
    form,
    opened,
    delta,
  }: StoredForm): Promise<Pick<NewBlob, "form" | "depth" | "bytes" | "bases"> | undefined> {
    if (delta === undefined) return { form, depth: 0, bytes: opened, bases: [] };
    const bases: DeltaBase[] = [];
    let depth = 0;
    for (const base of delta.bases) {
      const id = await this.#copyBase(base.id);
      const baseDepth = this.#depthOf(id);
      if (baseDepth === undefined) return undefined;
      depth = Math.max(depth, baseDepth + 1);
      bases.push({ ...base, id });
    }
    if (depth > this.#options.depthMost) return undefined;
    const bytes = concatBytes([encodeDeltaPrefix(bases), delta.frame]);
    return { form, depth, bytes, bases: bases.map((base) => base.id) };
  }

  /** A base comes along, though no snapshot that is copied may need it: it weighs what the plain form would. */
  async #copyBase(id: Uint8Array): Promise<Uint8Array> {
    const { reader, writer, index } = this.#options;
    const known = this.#known.get(id);
    if (known !== undefined) return known;
    // Read for the delta a moment ago, so it lies in the reader's cache.
    const target = writer.chunkId(await reader.readBlob("data", id));
    if (!index.has("data", target)) return this.#copyOnce(id);
    this.#known.set(id, target);
    return target;
  }

  #depthOf(target: Uint8Array): number | undefined {
    return (
      this.#options.index.lookup("data", target)?.depth ?? this.#depths.get(toHex(target))?.depth
    );
  }

  #rememberDepth(id: Uint8Array, depth: number): void {
    this.#depths.set(toHex(id), { id, depth });
    if (this.#depths.size <= depthsMost) return;
    for (const [key, entry] of this.#depths)
      if (this.#options.index.has("data", entry.id)) this.#depths.delete(key);
  }
}
