/**
 * A chunk's way from one repository into another: opened, its id checked, named by the target's key,
 * and sealed there in the form it has. Nothing is compressed anew but a delta whose base lies too deep
 * in the target.
 *
 * Chunks that are asked for at about the same time are read in groups of such as lie near each other,
 * a few groups ahead of what is being written.
 */
import { concatBytes, toHex } from "../../../bytes.ts";
import type { BlobIndex } from "../../blob-index/index.ts";
import {
  type BlobGroup,
  type BlobReader,
  type BlobWriter,
  Gate,
  type NewBlob,
  type StoredForm,
} from "../../blobs/index.ts";
import { type DeltaBase, encodeDeltaPrefix } from "../../format/index.ts";
import { IdMemory } from "./id-memory.ts";

export interface ChunkCopierOptions {
  readonly reader: Pick<BlobReader, "readForm" | "readBlob" | "groups" | "hold">;
  readonly writer: Pick<BlobWriter, "chunkId" | "storeChunk">;
  readonly index: Pick<BlobIndex, "has" | "lookup">;
  /** Of deltas in the target. */
  readonly depthMost: number;
  /** Is told of each chunk that was read. */
  readonly onRead: (bytes: number) => void;
}

/** Groups that are held or on their way: 4 to 8 MiB of sealed bytes each. */
const groupsMost = 4;
/** Chunks that are copied at once; each may hold itself and four bases. */
const copiesMost = 16;
const rememberedMost = 65_536;
/** Depths of chunks that lie in packs which are still being filled. */
const depthsMost = 65_536;

interface Copying {
  readonly id: Uint8Array;
  readonly copied: Promise<Uint8Array>;
  /** Whoever comes first begins: the chunk's group, or a delta that needs it as its base. */
  readonly begin: () => void;
  readonly giveUp: (error: unknown) => void;
}

export class ChunkCopier {
  readonly #options: ChunkCopierOptions;
  readonly #known = new IdMemory(rememberedMost);
  readonly #copying = new Map<string, Copying>();
  readonly #depths = new Map<string, { readonly id: Uint8Array; readonly depth: number }>();
  readonly #groups = new Gate(groupsMost);
  readonly #copies = new Gate(copiesMost);
  readonly #running = new Set<Promise<void>>();
  /** Asked for, and in no group yet. */
  #waiting: Copying[] = [];
  #isDividing = false;
  #isClosed = false;

  constructor(options: ChunkCopierOptions) {
    this.#options = options;
  }

  /** @returns the chunk's id in the target; it is durable after the writer's flush */
  copy(id: Uint8Array): Promise<Uint8Array> {
    const known = this.#known.get(id);
    if (known !== undefined) return Promise.resolve(known);
    const copying = this.#copying.get(toHex(id));
    if (copying !== undefined) return copying.copied;
    const wanted = this.#newCopying(id);
    this.#waiting.push(wanted);
    if (!this.#isDividing) this.#run(this.#divide());
    return wanted.copied;
  }

  /** What has not been begun is given up; resolves when nothing is read any more. */
  async close(): Promise<void> {
    this.#isClosed = true;
    while (this.#running.size > 0) await Promise.all(this.#running);
  }

  #newCopying(id: Uint8Array): Copying {
    const key = toHex(id);
    let begun = false;
    let resolve!: (target: Uint8Array | Promise<Uint8Array>) => void;
    let giveUp!: (error: unknown) => void;
    const copied = new Promise<Uint8Array>((...ends) => {
      [resolve, giveUp] = ends;
    }).finally(() => this.#copying.delete(key));
    copied.catch(() => undefined); // seen by who asked for it
    const copying: Copying = {
      id,
      copied,
      giveUp: (error) => {
        giveUp(error);
      },
      begin: () => {
        if (!begun) resolve(this.#copyNow(id));
        begun = true;
      },
    };
    this.#copying.set(key, copying);
    return copying;
  }

  /** Copies what waits, and what comes to wait meanwhile, group by group. */
  async #divide(): Promise<void> {
    this.#isDividing = true;
    // What is asked for in one breath belongs together.
    await Promise.resolve();
    while (this.#waiting.length > 0) {
      const waiting = new Map(this.#waiting.map((copying) => [copying.id, copying]));
      this.#waiting = [];
      try {
        for (const group of this.#options.reader.groups("data", [...waiting.keys()])) {
          await this.#groups.enter();
          const members = group.ids.map((id) => waiting.get(id)!);
          this.#run(
            this.#copyGroup(group, members).finally(() => {
              this.#groups.leave();
            }),
          );
        }
      } catch (error) {
        for (const copying of waiting.values()) copying.giveUp(error);
      }
    }
    this.#isDividing = false;
  }

  async #copyGroup(group: BlobGroup, members: readonly Copying[]): Promise<void> {
    try {
      assertOpen(this.#isClosed);
      const held = await this.#options.reader.hold(group);
      await Promise.all(members.map((member) => this.#copyMember(member)));
      held[Symbol.dispose]();
    } catch (error) {
      for (const member of members) member.giveUp(error);
    }
  }

  async #copyMember(member: Copying): Promise<void> {
    await this.#copies.enter();
    try {
      assertOpen(this.#isClosed);
      member.begin();
      await member.copied;
    } catch (error) {
      member.giveUp(error);
    } finally {
      this.#copies.leave();
    }
  }

  #run(work: Promise<void>): void {
    const running = work.finally(() => this.#running.delete(running));
    this.#running.add(running);
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
    if (!index.has("data", target)) {
      // Bases are less deep than what needs them, so none waits in a circle; and none for its group.
      const copying = this.#copying.get(toHex(id)) ?? this.#newCopying(id);
      copying.begin();
      return copying.copied;
    }
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

function assertOpen(isClosed: boolean): void {
  if (isClosed) throw new Error("the copy has ended");
}
