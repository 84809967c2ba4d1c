/**
 * Stores blobs: asks the index which are new, has lanes pack those, puts packs, then their index.
 *
 * This thread coordinates and never touches a chunk's bytes. Order is the journal: a pack's entries
 * become findable, and go to an index object, only once its put has returned. Memory: see
 * docs/decisions/0008-pipeline.md; nothing here grows with what is backed up.
 */
import { toHex } from "../../bytes.ts";
import { assert } from "../../errors.ts";
import {
  createIdHasher,
  newPackSeal,
  type BackupKeys,
  type BlobClass,
  type IdHasher,
  type PackSeal,
  type Random,
} from "../../crypto/index.ts";
import type { Storage } from "../../storage/index.ts";
import type { BlobIndex, IndexWriter } from "../blob-index/index.ts";
import {
  blockBytes,
  holeRun,
  packHeaderBytes,
  blobPlainBytesMax,
  deltaBaseCountMax,
  idBytes,
  type IndexedPack,
  type Settings,
} from "../format/index.ts";
import { FormChooser, type KnownBase } from "./choose-form.ts";
import type { ThreadEntry } from "./executor.ts";
import { InlinePacker } from "./inline-packer.ts";
import { laneEntry } from "./lane-entry.ts";
import type { ChunkBases, CutPart, CutSource, ReadFault } from "./lane-messages.ts";
import { LanePool, type CutAnswer, type LaneMessage } from "./lane-pool.ts";
import type { CompressionLevel } from "./levels.ts";
import { packBytesFor, packCapacity, type NewBlob } from "./pack-builder.ts";
import { PackMemory } from "./pack-memory.ts";
import { readStream, readWindows, type ChunkList, type StoredStream } from "./store-stream.ts";
import { openZstd } from "./zstd.ts";

export interface BlobWriterOptions {
  readonly storage: Storage;
  readonly keys: BackupKeys;
  readonly repoId: Uint8Array;
  readonly index: Pick<BlobIndex, "addPending" | "addPack">;
  readonly indexWriter: Pick<IndexWriter, "add" | "due" | "write">;
  readonly settings: Settings;
  readonly random: Random;
  /** Milliseconds; for when an index object is due. */
  readonly clock: () => number;
  /** Threads; 0 does everything in this one, repeatably. */
  readonly lanes: number;
  readonly level: CompressionLevel;
  /** Decode every frame before it is stored; true unless said otherwise. */
  readonly verify?: boolean;
  readonly signal?: AbortSignal | undefined;
  /** Sample the blocks of images, for `NewChunk.hooks`. */
  readonly hooks?: boolean;
  /** Gets each data pack when it is durable, with its secret; must not keep the bytes. */
  readonly keepPack?:
    ((name: Uint8Array, bytes: Uint8Array, secret: Uint8Array) => void) | undefined;
  /** What a lane's thread runs, where it is not the one beside this file. */
  readonly entry?: ThreadEntry;
}

export interface WriterStats {
  /** Plaintext read, whether known or new. */
  bytesRead: number;
  chunksKnown: number;
  chunksNew: number;
  /** Of the new, those stored as deltas. */
  chunksDelta: number;
  /** Plain bytes of new chunks. */
  bytesNew: number;
  treesKnown: number;
  treesNew: number;
  /** Plain bytes of new tree blobs. */
  treeBytesNew: number;
  packs: number;
  /** Stored bytes of packs, as the storage holds them. */
  bytesStored: number;
}

/** A new chunk of a segment: its place is from the segment's start, in bytes. */
export interface NewChunk {
  readonly chunk: number;
  readonly id: Uint8Array;
  readonly offset: number;
  readonly length: number;
  /** Sampled values of its blocks, pairs of low and high half. */
  readonly hooks: Uint32Array;
}

/** @returns for each chunk what it may be stored against, the likeliest last */
export type FindBases = (chunks: readonly NewChunk[]) => Promise<readonly (readonly KnownBase[])[]>;

export interface StoredSegment {
  /** Chunks and holes in the image map's encoding. */
  readonly runs: Uint16Array;
  /** One for each run that is no hole. */
  readonly ids: Uint8Array;
  /** Less than asked for: the source is shorter than it was said to be. */
  readonly bytes: number;
  /** The source could not be read; there are no runs then. */
  readonly fault: ReadFault | undefined;
}

function headerEnd(header: Uint8Array): string {
  return toHex(header.subarray(-32));
}

/** Segments a lane holds: one being stored, one waiting, one being read. */
const slotsPerLane = 3;
/** Of a run's first packs, where what is sent takes its time. */
const firstFarPackBytes = 1 << 20;
/** Packs filled in this thread may be on their way while the next is filled. */
const inlinePutsMost = 2;

export class BlobWriter {
  readonly stats: Readonly<WriterStats>;
  readonly #stats: WriterStats;
  readonly #options: BlobWriterOptions;
  readonly #ids: IdHasher;
  readonly #pool: LanePool;
  readonly #chooser: FormChooser;
  readonly #trees: InlinePacker;
  /** Chunks that another repository had, in their form. */
  readonly #ready: InlinePacker;
  readonly #memory: PackMemory;
  readonly #slotBytes: number;
  readonly #puts = new Set<Promise<void>>();
  /** Of packs that are being filled, by the end of their header; for `keepPack`. */
  readonly #secrets = new Map<string, Uint8Array>();
  #inlinePuts = 0;
  #indexing: Promise<void> = Promise.resolve();
  #failure: Error | undefined;

  static open(options: BlobWriterOptions): Promise<BlobWriter> {
    return Promise.resolve(new BlobWriter(options));
  }

  private constructor(options: BlobWriterOptions) {
    const { keys, repoId, settings, level, verify = true, lanes } = options;
    this.#options = options;
    this.#stats = {
      bytesRead: 0,
      chunksKnown: 0,
      chunksNew: 0,
      chunksDelta: 0,
      bytesNew: 0,
      treesKnown: 0,
      treesNew: 0,
      treeBytesNew: 0,
      packs: 0,
      bytesStored: 0,
    };
    this.stats = this.#stats;
    const { image, stream } = settings.chunker;
    const chunkBytesMax = Math.max(image.maxBytes, stream.maxBytes);
    const least = packBytesFor(chunkBytesMax, deltaBaseCountMax);
    const capacity = Math.max(packCapacity(settings.pack.targetBytes), least);
    const first = options.storage.traits.local
      ? capacity
      : Math.max(packCapacity(firstFarPackBytes), least);
    this.#slotBytes = Math.max(image.segmentBytes, 2 * stream.maxBytes);
    this.#ids = createIdHasher(keys);
    this.#chooser = new FormChooser(openZstd(level), verify);
    const inlinePacker = (cls: BlobClass): InlinePacker =>
      new InlinePacker({
        cls,
        repoId,
        capacity,
        newSeal: () => this.#newSeal(cls),
        full: (built, done) => {
          this.#inlinePuts++;
          this.#put(built.pack, built.bytes, () => {
            this.#inlinePuts--;
            done();
          });
        },
      });
    this.#trees = inlinePacker("tree");
    this.#ready = inlinePacker("data");
    this.#pool = new LanePool(
      {
        keys: { dataIdKey: keys.dataIdKey, treeIdKey: keys.treeIdKey, cutKey: keys.cutKey },
        repoId,
        image,
        stream,
        level,
        verify,
        slotBytes: this.#slotBytes,
        slots: slotsPerLane,
        hooks: options.hooks === true,
      },
      Math.max(1, lanes),
      lanes === 0 ? undefined : (options.entry ?? laneEntry()),
      {
        pack: (lane, message) => {
          this.#packFilled(lane, message);
        },
        crash: (error) => {
          this.#fail(error);
        },
      },
    );
    const sizes = { most: capacity, first: Math.min(first, capacity) };
    this.#memory = new PackMemory(sizes, this.#pool.laneCount, (lane, memory) => {
      this.#pool.room(lane, { seal: this.#newSeal("data"), memory });
    });
    // Answers from far away are waited for before the first cut.
    if (lanes > 0 && !options.storage.traits.local) this.#pool.start();
  }

  /**
   * @param findBases  asked when the node is new: what it may be stored against
   * @returns the blob's id; it is durable after `flush`
   */
  async storeTree(
    plain: Uint8Array,
    findBases: () => Promise<readonly KnownBase[]> = () => Promise.resolve([]),
  ): Promise<Uint8Array> {
    this.#throwFailure();
    assert(plain.length <= blobPlainBytesMax, "a tree blob is at most 8 MiB");
    await this.#inlineRoom();
    const id = this.#ids.id("tree", plain);
    if (this.#options.index.addPending("tree", id)) {
      this.#stats.treesNew++;
      this.#stats.treeBytesNew += plain.length;
      const bases = await findBases();
      const chosen = this.#chooser.chooseForm(plain, bases);
      this.#trees.add({ ...chosen, id, plainLength: plain.length });
    } else this.#stats.treesKnown++;
    return id;
  }

  /** The id that a chunk has in this repository. */
  chunkId(plain: Uint8Array): Uint8Array {
    return this.#ids.id("data", plain);
  }

  /**
   * Stores a chunk in the form that another repository had it in, or in one chosen here.
   *
   * @param plain  its bytes, of which `id` is the id
   * @param form   what is sealed, checked to give `plain`; absent: raw or zstd, whichever pays
   * @returns false when it is known: there is nothing to store
   */
  async storeChunk(
    id: Uint8Array,
    plain: Uint8Array,
    form?: Pick<NewBlob, "form" | "depth" | "bytes" | "bases">,
  ): Promise<boolean> {
    this.#throwFailure();
    await this.#inlineRoom();
    if (!this.#options.index.addPending("data", id)) {
      this.#stats.chunksKnown++;
      return false;
    }
    const chosen = form ?? this.#chooser.chooseForm(plain);
    this.#stats.chunksNew++;
    this.#stats.bytesNew += plain.length;
    if (chosen.bases.length > 0) this.#stats.chunksDelta++;
    this.#ready.add({ ...chosen, id, plainLength: plain.length });
    return true;
  }

  /**
   * Reads, cuts and stores one segment of an image; resolves once it is cut.
   *
   * @param source  at most a segment, from a segment's start on; `bytes` may be shared memory and must
   *                stay as they are until this resolves
   * @param options.findBases  asked when the segment holds a new chunk
   * @param options.accept  how many of the first runs stand; the others are not stored. All unless given
   * @returns all runs, whether they stand or not
   */
  async storeSegment(
    source: CutSource,
    options: {
      readonly findBases?: FindBases | undefined;
      readonly accept?: (runs: Uint16Array) => number;
    } = {},
  ): Promise<StoredSegment> {
    const { findBases, accept } = options;
    const cut = await this.#cut("image", [source]);
    const part = cut.parts[0]!;
    const accepted = accept === undefined ? cut.runs : cut.runs.subarray(0, accept(cut.runs));
    const chunkCount = accepted.reduce((count, run) => count + (run < holeRun ? 1 : 0), 0);
    const wanted = this.#wantNew(cut, chunkCount);
    if (findBases === undefined || !wanted.includes(1)) cut.store(wanted);
    else cut.store(wanted, await this.#bases(cut, wanted, findBases));
    return { runs: cut.runs, ids: cut.ids, bytes: part.bytes, fault: part.fault };
  }

  /**
   * Reads, cuts and stores a byte stream from its start to its end.
   *
   * @param take  gets the chunks as they come, for streams whose list is too long to keep; without it
   *              they are in the result
   */
  storeStream(
    source: { readonly fd: number } | AsyncIterable<Uint8Array>,
    take?: (chunks: ChunkList) => void | Promise<void>,
  ): Promise<StoredStream> {
    return readStream(this.#windows, source, take);
  }

  /** Stores whole files, small ones many at a time; results in their order. */
  storeFiles(
    files: readonly { readonly fd: number; readonly size: number }[],
  ): Promise<StoredStream[]> {
    return readWindows(this.#windows, files);
  }

  /** All that was stored is durable, and findable through an index object. */
  async flush(): Promise<void> {
    this.#throwFailure();
    await this.#pool.flush();
    this.#trees.close();
    this.#ready.close();
    while (this.#puts.size > 0) await Promise.all(this.#puts);
    this.#throwFailure();
    await this.#writeIndex();
    this.#throwFailure();
  }

  /** Gives up: what is not indexed yet is garbage that a prune collects. */
  async abort(error: Error): Promise<void> {
    this.#fail(error);
    await this.close();
  }

  async close(): Promise<void> {
    await this.#pool.close();
    await Promise.allSettled([...this.#puts, this.#indexing]);
  }

  readonly #cut = async (
    cutter: "image" | "stream",
    parts: readonly CutSource[],
  ): Promise<CutAnswer> => {
    this.#throwFailure();
    const cut = await this.#pool.cut(cutter, parts);
    for (const part of cut.parts) this.#stats.bytesRead += part.readBytes;
    return cut;
  };

  /** How a stream's windows are cut and stored: what store-stream.ts needs of a writer. */
  readonly #windows = {
    bytes: (): number => this.#slotBytes,
    cut: (parts: readonly CutSource[]): Promise<CutAnswer> => this.#cut("stream", parts),
    wantNew: (cut: CutAnswer, isWanted: (part: CutPart) => boolean): Uint8Array =>
      this.#wantNew(cut, cut.lengths.length, isWanted),
  };

  async #bases(cut: CutAnswer, wanted: Uint8Array, findBases: FindBases): Promise<ChunkBases> {
    const places: NewChunk[] = [];
    let at = 0;
    let chunk = 0;
    for (const run of cut.runs) {
      if (run < holeRun) {
        const length = cut.lengths[chunk]!;
        if (wanted[chunk] === 1) {
          const id = cut.ids.subarray(chunk * idBytes, (chunk + 1) * idBytes);
          const hooks = cut.hooks.subarray(cut.hookEnds[chunk - 1] ?? 0, cut.hookEnds[chunk] ?? 0);
          places.push({ chunk, id, offset: at, length, hooks });
        }
        chunk++;
      }
      at += (run & ~holeRun) * blockBytes;
    }
    try {
      const found = await findBases(places);
      const bases: (readonly KnownBase[] | undefined)[] = [];
      places.forEach((place, index) => (bases[place.chunk] = found[index]));
      return bases;
    } catch (error) {
      this.#fail(error);
      return [];
    }
  }

  /** A 1 for each chunk that nobody has yet; from here on this run has it. */
  #wantNew(
    cut: CutAnswer,
    chunkCount: number,
    isWanted: (part: CutPart) => boolean = () => true,
  ): Uint8Array {
    const wanted = new Uint8Array(cut.lengths.length);
    let at = 0;
    for (const part of cut.parts) {
      const end = Math.min(at + part.chunkCount, chunkCount);
      if (!isWanted(part)) at = end;
      for (; at < end; at++) {
        if (this.#options.index.addPending("data", cut.ids, at * idBytes)) {
          wanted[at] = 1;
          this.#stats.chunksNew++;
          this.#stats.bytesNew += cut.lengths[at]!;
        } else this.#stats.chunksKnown++;
      }
    }
    return wanted;
  }

  #packFilled(lane: number, message: LaneMessage<"pack">): void {
    this.#stats.chunksDelta += message.deltaCount;
    this.#memory.filled(lane, message.bytes.length);
    this.#put(message.pack, message.bytes, () => {
      this.#memory.free(message.bytes);
    });
  }

  async #inlineRoom(): Promise<void> {
    while (this.#inlinePuts > inlinePutsMost) {
      // A put that failed leaves no room: of none at all one would wait for ever.
      this.#throwFailure();
      await Promise.race(this.#puts);
    }
    this.#throwFailure();
  }

  #put(pack: IndexedPack, bytes: Uint8Array, done: () => void): void {
    const put = this.#putPack(pack, bytes)
      .then(done)
      .catch((error: unknown) => {
        this.#fail(error);
      })
      .finally(() => {
        this.#puts.delete(put);
      });
    this.#puts.add(put);
  }

  async #putPack(pack: IndexedPack, bytes: Uint8Array): Promise<void> {
    const { storage, index, indexWriter, signal, clock } = this.#options;
    this.#throwFailure();
    await storage.put("data", toHex(pack.name), [bytes], { signal });
    index.addPack(pack);
    indexWriter.add(pack);
    this.#stats.packs++;
    this.#stats.bytesStored += pack.size;
    this.#keep(pack, bytes);
    if (indexWriter.due(clock())) await this.#writeIndex();
  }

  #keep(pack: IndexedPack, bytes: Uint8Array): void {
    const key = headerEnd(bytes.subarray(0, packHeaderBytes));
    const secret = this.#secrets.get(key);
    if (secret === undefined) return;
    this.#secrets.delete(key);
    this.#options.keepPack?.(pack.name, bytes, secret);
  }

  /** One at a time: each takes all packs that are durable when it begins. */
  #writeIndex(): Promise<void> {
    this.#indexing = this.#indexing.then(async () => {
      this.#throwFailure();
      await this.#options.indexWriter.write();
    });
    // The failure is seen by who awaits this one, and by all later calls.
    this.#indexing.catch((error: unknown) => {
      this.#fail(error);
    });
    return this.#indexing;
  }

  #newSeal(cls: BlobClass): PackSeal {
    const { keys, repoId, random } = this.#options;
    const publicKey = cls === "data" ? keys.dataBoxPublic : keys.treeBoxPublic;
    const seal = newPackSeal(publicKey, keys.generation, repoId, cls, random);
    if (cls === "data" && this.#options.keepPack !== undefined)
      this.#secrets.set(headerEnd(seal.header), seal.secret);
    return seal;
  }

  #fail(error: unknown): void {
    const failure = error instanceof Error ? error : new Error(String(error));
    this.#failure ??= failure;
    this.#pool.fail(this.#failure);
  }

  #throwFailure(): void {
    this.#options.signal?.throwIfAborted();
    if (this.#failure !== undefined) throw this.#failure;
  }
}
