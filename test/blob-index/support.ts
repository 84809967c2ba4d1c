/** A small repository for index tests: real sealing and signing, storage in memory, packs that are only claimed. */
import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { toHex } from "../../src/bytes.ts";
import { CorruptionError } from "../../src/errors.ts";
import {
  generateFullKeys,
  generateWriterKeys,
  loadSodium,
  openSigned,
  sealObject,
  signContent,
  systemRandom,
  verifySigned,
  type FullKeys,
  type ObjectKindName,
  type WriterKeys,
} from "../../src/crypto/index.ts";
import {
  BlobIndex,
  sealIndexObject,
  type BlobIndexOptions,
} from "../../src/repo/blob-index/index.ts";
import {
  packHeaderBytes,
  type IndexedBase,
  type IndexedPack,
  type IndexObject,
} from "../../src/repo/format/index.ts";
import type { ObjectInfo, ObjectKind, Storage } from "../../src/storage/index.ts";

export class MemoryStorage implements Storage {
  readonly location = "memory";
  readonly traits = { conditionalPut: true, local: true };
  readonly objects = new Map<string, Uint8Array>();
  gets = 0;
  putError: Error | undefined;
  /** Called before each get: tests let objects vanish here. */
  beforeGet: (name: string) => void = () => undefined;

  put(kind: ObjectKind, name: string, parts: readonly Uint8Array[]): Promise<"created" | "exists"> {
    if (this.putError !== undefined) return Promise.reject(this.putError);
    const key = `${kind}/${name}`;
    if (this.objects.has(key)) return Promise.resolve("exists");
    this.objects.set(key, new Uint8Array(Buffer.concat(parts)));
    return Promise.resolve("created");
  }

  get(kind: ObjectKind, name: string): Promise<Uint8Array | undefined> {
    this.gets++;
    this.beforeGet(name);
    return Promise.resolve(this.objects.get(`${kind}/${name}`)?.slice());
  }

  async *list(kind: ObjectKind): AsyncGenerator<ObjectInfo> {
    for (const [key, bytes] of [...this.objects]) {
      await Promise.resolve();
      if (key.startsWith(`${kind}/`))
        yield { name: key.slice(kind.length + 1), size: bytes.length };
    }
  }

  stat(kind: ObjectKind, name: string): Promise<ObjectInfo | undefined> {
    const bytes = this.objects.get(`${kind}/${name}`);
    return Promise.resolve(bytes && { name, size: bytes.length });
  }

  delete(kind: ObjectKind, name: string): Promise<boolean> {
    return Promise.resolve(this.objects.delete(`${kind}/${name}`));
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

export interface TestRepository {
  readonly storage: MemoryStorage;
  readonly keys: FullKeys;
  readonly writer: WriterKeys;
  readonly repoId: Uint8Array;
  readonly notes: string[];
}

export async function makeRepository(): Promise<TestRepository> {
  await loadSodium();
  return {
    storage: new MemoryStorage(),
    keys: generateFullKeys(systemRandom),
    writer: generateWriterKeys(systemRandom),
    repoId: systemRandom.bytes(16),
    notes: [],
  };
}

/** Admits the repository's own writer and nobody else. */
export function verifier({ writer, repoId }: TestRepository): BlobIndexOptions["verify"] {
  return (kind, content) => {
    const { writerId } = openSigned(content);
    if (writerId !== writer.writerId)
      throw new CorruptionError(`Cannot trust ${kind}: writer ${writerId} is not admitted`);
    return { writerId, body: verifySigned(kind, content, writer.signPublic, repoId) };
  };
}

export async function openIndex(repository: TestRepository, cacheDir?: string): Promise<BlobIndex> {
  const { storage, keys, repoId, notes } = repository;
  const onNote = (note: string): unknown => notes.push(note);
  const index = await BlobIndex.open({
    storage,
    keys,
    repoId,
    cacheDir,
    verify: verifier(repository),
    onNote,
  });
  onTestFinished(() => {
    index.close();
  });
  return index;
}

export function makeCacheDir(): string {
  const path = mkdtempSync(join(tmpdir(), "ashlar-test-"));
  onTestFinished(() => {
    rmSync(path, { recursive: true, force: true });
  });
  return path;
}

export async function putIndexObject(
  repository: TestRepository,
  packs: readonly IndexedPack[],
  replaces: readonly string[] = [],
  writer: WriterKeys = repository.writer,
): Promise<string> {
  const object: IndexObject = { replaces, session: undefined, packs };
  return await putStored(
    repository,
    sealIndexObject(object, { ...repository, writer, random: systemRandom }),
  );
}

export async function putProtocolObject(
  repository: TestRepository,
  kind: ObjectKindName,
): Promise<string> {
  const { keys, repoId } = repository;
  const admin = { writerId: "0".repeat(32), signSecret: keys.adminSecret };
  const content = signContent(kind, new Uint8Array(100), admin, repoId);
  const key = { algorithm: "salt", key: keys.sessionKey } as const;
  return await putStored(
    repository,
    sealObject(kind, content, key, { repoId, generation: 0, random: systemRandom }),
  );
}

async function putStored({ storage }: TestRepository, stored: Uint8Array): Promise<string> {
  const name = toHex(createHash("sha256").update(stored).digest());
  await storage.put("index", name, [stored]);
  return name;
}

/** Puts something of the pack's name and size into data/. */
export async function putPack({ storage }: TestRepository, pack: IndexedPack): Promise<void> {
  await storage.put("data", toHex(pack.name), [new Uint8Array(pack.size)]);
}

export interface PackShape {
  readonly ids: readonly Uint8Array[];
  readonly cls?: "data" | "tree";
  readonly name?: Uint8Array;
  /** Ordinal to prefixes of its bases: the blob is a delta. */
  readonly bases?: ReadonlyMap<number, readonly Uint8Array[]>;
}

export function makePack({
  ids,
  cls = "data",
  name = randomId(),
  bases = new Map(),
}: PackShape): IndexedPack {
  const sealedLengths = Uint32Array.from(ids, (_, ordinal) => 100 + ordinal);
  const baseList: IndexedBase[] = [];
  for (const [ordinal, prefixes] of bases)
    for (const prefix of prefixes) baseList.push({ ordinal, prefix });
  return {
    name,
    size: sealedLengths.reduce((sum, length) => sum + length, packHeaderBytes + 100),
    cls,
    count: ids.length,
    ids: new Uint8Array(Buffer.concat(ids)),
    sealedLengths,
    plainLengths: Uint32Array.from(ids, (_, ordinal) => 1000 + ordinal),
    forms: Uint8Array.from(ids, (_, ordinal) => (bases.has(ordinal) ? 2 : 1)),
    depths: Uint8Array.from(ids, (_, ordinal) => (bases.has(ordinal) ? 1 : 0)),
    bases: baseList,
  };
}

export function randomId(): Uint8Array {
  return new Uint8Array(randomBytes(32));
}

export function randomIds(count: number): Uint8Array[] {
  return Array.from({ length: count }, randomId);
}

/** An id that follows from a number: small numbers share an 8-byte prefix with their neighbours. */
export function idOf(number: number): Uint8Array {
  const id = new Uint8Array(createHash("sha256").update(`${number}`).digest());
  id.set(
    createHash("sha256")
      .update(`prefix ${Math.floor(number / 3)}`)
      .digest()
      .subarray(0, 8),
  );
  return id;
}
