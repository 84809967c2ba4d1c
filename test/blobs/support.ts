/** A repository's lower rooms, real but for the storage, which is memory and keeps a log of what is done to it. */
import { afterAll } from "vitest";
import { CorruptionError } from "../../src/errors.ts";
import {
  adminWriterId,
  generateFullKeys,
  generateWriterKeys,
  loadSodium,
  openSigned,
  type FullKeys,
} from "../../src/crypto/index.ts";
import { defaultImageCutParams } from "../../src/chunker/index.ts";
import { BlobIndex, IndexWriter } from "../../src/repo/blob-index/index.ts";
import { BlobReader, BlobWriter } from "../../src/repo/blobs/index.ts";
import type { BlobReaderOptions, BlobWriterOptions } from "../../src/repo/blobs/index.ts";
import type { Settings } from "../../src/repo/format/index.ts";
import type {
  ByteRange,
  ObjectInfo,
  ObjectKind,
  Storage,
  StorageCall,
} from "../../src/storage/storage.ts";
import { fixedRandom } from "../support/fixed-random.ts";

const indexes: BlobIndex[] = [];
afterAll(() => {
  for (const index of indexes) index.close();
});

export class MemoryStorage implements Storage {
  readonly location = "memory";
  readonly traits;
  readonly objects = new Map<string, Uint8Array>();
  /** Mutations in the order in which they were done: "put data 3f…". */
  readonly log: string[] = [];
  /** Awaited before each put takes effect. */
  beforePut: (kind: ObjectKind, name: string) => Promise<void> = () => Promise.resolve();
  gets = 0;

  constructor(isLocal = true) {
    this.traits = { conditionalPut: true, local: isLocal };
  }

  async put(
    kind: ObjectKind,
    name: string,
    parts: readonly Uint8Array[],
  ): Promise<"created" | "exists"> {
    await this.beforePut(kind, name);
    if (this.objects.has(`${kind}/${name}`)) return "exists";
    this.objects.set(`${kind}/${name}`, new Uint8Array(Buffer.concat(parts)));
    this.log.push(`put ${kind} ${name}`);
    return "created";
  }

  get(
    kind: ObjectKind,
    name: string,
    range?: ByteRange,
    call?: StorageCall & { readonly into?: Uint8Array },
  ): Promise<Uint8Array | undefined> {
    this.gets++;
    const whole = this.objects.get(`${kind}/${name}`);
    if (whole === undefined) return Promise.resolve(undefined);
    const { offset, length } = range ?? { offset: 0, length: whole.length };
    if (offset + length > whole.length) {
      return Promise.reject(new CorruptionError(`Cannot read ${kind}/${name}: it ends early`));
    }
    const bytes = whole.slice(offset, offset + length);
    if (call?.into === undefined) return Promise.resolve(bytes);
    call.into.set(bytes);
    return Promise.resolve(call.into.subarray(0, length));
  }

  async *list(kind: ObjectKind): AsyncIterable<ObjectInfo> {
    await Promise.resolve();
    for (const [path, bytes] of this.objects) {
      if (path.startsWith(`${kind}/`))
        yield { name: path.slice(kind.length + 1), size: bytes.length };
    }
  }

  stat(kind: ObjectKind, name: string): Promise<ObjectInfo | undefined> {
    const bytes = this.objects.get(`${kind}/${name}`);
    return Promise.resolve(bytes && { name, size: bytes.length });
  }

  delete(kind: ObjectKind, name: string): Promise<boolean> {
    this.log.push(`delete ${kind} ${name}`);
    return Promise.resolve(this.objects.delete(`${kind}/${name}`));
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  names(kind: ObjectKind): string[] {
    return [...this.objects.keys()]
      .filter((path) => path.startsWith(`${kind}/`))
      .map((path) => path.slice(kind.length + 1));
  }

  bytes(kind: ObjectKind, name: string): Uint8Array {
    const bytes = this.objects.get(`${kind}/${name}`);
    if (bytes === undefined) throw new Error(`no ${kind}/${name}`);
    return bytes;
  }
}

export const testSettings: Settings = {
  chunker: {
    image: { algorithm: "nh-siphash-v1", ...defaultImageCutParams },
    stream: {
      algorithm: "fastcdc-wasm-v1",
      minBytes: 16 * 1024,
      averageBytes: 64 * 1024,
      maxBytes: 256 * 1024,
    },
  },
  pack: { targetBytes: 1024 * 1024 },
  delta: { depth: 1 },
  map: { fanout: 128 },
  created: "2026-11-23T00:00:00Z",
};

/** Keys, a storage and an index of it; writers and readers of one repository. */
export class TestRepository {
  readonly storage: MemoryStorage;
  readonly keys: FullKeys;
  readonly repoId: Uint8Array;
  readonly index: BlobIndex;
  readonly indexWriter: IndexWriter;
  readonly random = fixedRandom("blobs");
  settings = testSettings;

  private constructor(
    storage: MemoryStorage,
    index: BlobIndex,
    keys: FullKeys,
    repoId: Uint8Array,
  ) {
    this.storage = storage;
    this.index = index;
    this.keys = keys;
    this.repoId = repoId;
    this.indexWriter = new IndexWriter({
      storage,
      keys,
      repoId,
      writer: generateWriterKeys(fixedRandom("writer")),
      random: fixedRandom("index"),
      session: undefined,
      clock: () => 0,
      index,
    });
  }

  static async create(storage = new MemoryStorage()): Promise<TestRepository> {
    await loadSodium();
    const keys = generateFullKeys(fixedRandom("keys"));
    const repoId = fixedRandom("repo").bytes(16);
    const index = await BlobIndex.open({
      storage,
      keys,
      repoId,
      cacheDir: undefined,
      verify: (_kind, content) => {
        const { body } = openSigned(content);
        return { writerId: adminWriterId, body };
      },
    });
    indexes.push(index);
    return new TestRepository(storage, index, keys, repoId);
  }

  writer(options: Partial<BlobWriterOptions> = {}): Promise<BlobWriter> {
    return BlobWriter.open({ ...this.#common(), level: "fastest", clock: () => 0, ...options });
  }

  reader(options: Partial<BlobReaderOptions> = {}): Promise<BlobReader> {
    return BlobReader.open({ ...this.#common(), ...options });
  }

  #common(): Omit<BlobWriterOptions & BlobReaderOptions, "level" | "clock"> {
    const { storage, keys, repoId, index, indexWriter, settings, random } = this;
    return { storage, keys, repoId, index, indexWriter, settings, random, lanes: 0 };
  }
}
