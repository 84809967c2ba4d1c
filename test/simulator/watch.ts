/**
 * Knows what is stored without asking the program: after each change every snapshot that counts must
 * still be readable (I2, I8), each chunk in some pack that an index object names, its bases too (R1).
 */
import { fromHex, toHex } from "../../src/bytes.ts";
import { type FullKeys, objectIsKind, openObject, openSigned } from "../../src/crypto/index.ts";
import type { BlobLocation, PackInfo } from "../../src/repo/blob-index/index.ts";
import { blobBases } from "../../src/repo/blob-index/pack-facts.ts";
import { BlobReader } from "../../src/repo/blobs/index.ts";
import {
  decodeIndexObject,
  decodeMark,
  decodeSnapshot,
  decodeVerdict,
  type Fence,
  type IndexedPack,
  packHeaderBytes,
  type Verdict,
} from "../../src/repo/format/index.ts";
import { childrenOf } from "../../src/repo/ops/collector/live-set.ts";
import { snapshotCounts } from "../../src/repo/ops/protocol.ts";
import type { ByteRange, ObjectKind, Storage, StorageCall } from "../../src/storage/index.ts";
import { cut } from "./actor-storage.ts";
import type { ObjectStore } from "./object-store.ts";

type BlobClass = "data" | "tree";
type GetCall = StorageCall & { readonly into?: Uint8Array };

interface Facts {
  readonly info: PackInfo;
  readonly locations: readonly BlobLocation[];
  /** Index objects that name it. */
  namedBy: number;
}

interface WatchedSnapshot {
  readonly session: string;
  /** Class and id of each blob that its trees name. */
  readonly needs: ReadonlySet<string>;
}

export interface RepositoryKeys {
  readonly id: Uint8Array;
  readonly keys: FullKeys;
}

export class BrokenInvariant extends Error {
  override readonly name = "BrokenInvariant";
}

/** One reader for all storages, one after the other: opening one costs more than a tiny run. */
class Lens {
  readonly repository: RepositoryKeys;
  readonly reader: BlobReader;
  watch: Watch | undefined;

  private constructor(repository: RepositoryKeys, reader: BlobReader) {
    this.repository = repository;
    this.reader = reader;
  }

  static async open(repository: RepositoryKeys): Promise<Lens> {
    const seen: { lens?: Lens } = {};
    const watch = (): Watch => seen.lens!.watch!;
    const reader = await BlobReader.open({
      ...{ keys: repository.keys, repoId: repository.id, lanes: 0 },
      storage: {
        get: (kind: ObjectKind, name: string, range?: ByteRange, call?: GetCall) =>
          Promise.resolve(watch().bytes(kind, name, range, call?.into)),
      } as Storage,
      index: {
        lookup: (cls, id) => watch().readable(`${cls} ${toHex(id)}`)[0],
        lookupReadable: (cls, id) => watch().readable(`${cls} ${toHex(id)}`),
        lookupPrefix: (cls, prefix) => watch().byPrefix(cls, prefix),
        packInfo: (number) => watch().packInfo(number),
        refresh: () => Promise.resolve(),
      },
    });
    seen.lens = new Lens(repository, reader);
    return seen.lens;
  }
}

export class Watch {
  readonly #store: ObjectStore;
  readonly #lens: Lens;
  readonly #facts = new Map<string, Facts>();
  readonly #numbers: string[] = [];
  readonly #places = new Map<string, BlobLocation[]>();
  readonly #ids = new Map<string, Uint8Array[]>();
  readonly #indexObjects = new Map<string, readonly string[]>();
  readonly #snapshots = new Map<string, WatchedSnapshot>();
  readonly #fences: (Fence & { readonly name: string })[] = [];
  readonly #verdicts: (Verdict & { readonly name: string })[] = [];

  private constructor(store: ObjectStore, lens: Lens, from?: Watch) {
    this.#store = store;
    this.#lens = lens;
    if (from === undefined) return;
    for (const [name, facts] of from.#facts) this.#facts.set(name, { ...facts });
    this.#numbers.push(...from.#numbers);
    this.#fences.push(...from.#fences);
    this.#verdicts.push(...from.#verdicts);
    for (const [key, places] of from.#places) this.#places.set(key, places);
    for (const [prefix, ids] of from.#ids) this.#ids.set(prefix, ids);
    for (const [name, packs] of from.#indexObjects) this.#indexObjects.set(name, packs);
    for (const [name, snapshot] of from.#snapshots) this.#snapshots.set(name, snapshot);
  }

  /** Of an empty storage. */
  static async begin(store: ObjectStore, repository: RepositoryKeys): Promise<Watch> {
    return new Watch(store, await Lens.open(repository));
  }

  /** Of another storage that has the same objects now. */
  fork(store: ObjectStore): Watch {
    return new Watch(store, this.#lens, this);
  }

  get visible(): string[] {
    return [...this.#snapshots].flatMap(([name, { session }]) =>
      snapshotCounts({ fences: this.#fences, verdicts: this.#verdicts }, name, session)
        ? [name]
        : [],
    );
  }

  isFenced(session: string): boolean {
    return this.#fences.some(({ fenced }) => fenced.includes(session));
  }

  /** @throws {BrokenInvariant} */
  async changed(operation: "put" | "delete", kind: ObjectKind, name: string): Promise<void> {
    if (operation === "put") {
      if (kind === "index" || kind === "snapshots") await this.#added(kind, name);
      return;
    }
    if (kind === "snapshots") this.#snapshots.delete(name);
    else if (kind === "index" && this.#forget(name)) this.expectAllReadable();
    else if (kind === "data") this.expectAllReadable();
  }

  /** @throws {BrokenInvariant} */
  expectAllReadable(): void {
    const known = new Map<string, boolean>();
    for (const name of this.visible) {
      for (const blob of this.#snapshots.get(name)!.needs) {
        const isThere = known.get(blob) ?? this.#isReadable(blob, Infinity);
        known.set(blob, isThere);
        if (!isThere)
          throw new BrokenInvariant(
            `snapshot ${name.slice(0, 8)} needs ${blob.slice(0, 13)}, which is gone`,
          );
      }
    }
  }

  async #added(kind: "index" | "snapshots", name: string): Promise<void> {
    const stored = this.#store.get(kind, name);
    if (stored === undefined) return;
    if (kind === "snapshots") await this.#addSnapshot(name, stored);
    else this.#addIndex(name, stored);
  }

  async #addSnapshot(name: string, stored: Uint8Array): Promise<void> {
    const { keys, id: repoId } = this.#lens.repository;
    const key = {
      algorithm: "box",
      publicKey: keys.treeBoxPublic,
      secretKey: keys.treeBoxSecret,
    } as const;
    const { body } = openSigned(openObject("snapshot", stored, key, { repoId }));
    const snapshot = decodeSnapshot(body);
    const { session } = snapshot;
    if (!snapshotCounts({ fences: this.#fences, verdicts: this.#verdicts }, name, session)) return;
    const needs = new Set<string>();
    try {
      this.#lens.watch = this;
      await this.#walk(fromHex(snapshot.tree), needs);
    } catch (cause) {
      throw new BrokenInvariant(
        `snapshot ${name.slice(0, 8)} was committed and cannot be read: ${String(cause)}`,
        { cause },
      );
    }
    this.#snapshots.set(name, { session, needs });
    this.expectAllReadable();
  }

  async #walk(id: Uint8Array, needs: Set<string>): Promise<void> {
    const key = `tree ${toHex(id)}`;
    if (needs.has(key)) return;
    needs.add(key);
    const { nodes, chunks } = childrenOf(await this.#lens.reader.readTree(id));
    for (const chunk of chunks) {
      needs.add(`data ${toHex(chunk)}`);
      await this.#lens.reader.readBlob("data", chunk);
    }
    for (const node of nodes) await this.#walk(node, needs);
  }

  #addIndex(name: string, stored: Uint8Array): void {
    const { keys, id: repoId } = this.#lens.repository;
    const open = (kind: "index" | "mark" | "verdict", key: Uint8Array): Uint8Array | undefined => {
      const salt = { algorithm: "salt", key } as const;
      if (!objectIsKind(kind, stored, salt, { repoId })) return undefined;
      return openSigned(openObject(kind, stored, salt, { repoId })).body;
    };
    const index = open("index", keys.indexKey);
    if (index !== undefined) {
      const { packs } = decodeIndexObject(index);
      this.#indexObjects.set(
        name,
        packs.map((pack) => this.#addPack(pack)),
      );
      return;
    }
    const mark = open("mark", keys.sessionKey);
    const record = mark === undefined ? undefined : decodeMark(mark);
    if (record?.record === "fence") this.#fences.push({ ...record, name });
    const verdict = mark === undefined ? open("verdict", keys.sessionKey) : undefined;
    if (verdict !== undefined) this.#verdicts.push({ ...decodeVerdict(verdict), name });
  }

  /** @returns whether a pack is in no index object any more */
  #forget(name: string): boolean {
    let isLast = false;
    for (const pack of this.#indexObjects.get(name) ?? [])
      if (--this.#facts.get(pack)!.namedBy === 0) isLast = true;
    this.#indexObjects.delete(name);
    for (const records of [this.#fences, this.#verdicts]) {
      const at = records.findIndex((record) => record.name === name);
      if (at >= 0) records.splice(at, 1);
    }
    return isLast;
  }

  #addPack(pack: IndexedPack): string {
    const name = toHex(pack.name);
    const known = this.#facts.get(name);
    if (known !== undefined) {
      known.namedBy++;
      return name;
    }
    const number = this.#numbers.push(name) - 1;
    const locations: BlobLocation[] = [];
    let offset = packHeaderBytes;
    for (let ordinal = 0; ordinal < pack.count; ordinal++) {
      const id = pack.ids.slice(ordinal * 32, ordinal * 32 + 32);
      const location: BlobLocation = {
        ...{ id, pack: number, ordinal, offset, sealedLength: pack.sealedLengths[ordinal]! },
        ...{ plainLength: pack.plainLengths[ordinal]!, form: pack.forms[ordinal]! },
        ...{ depth: pack.depths[ordinal]!, basePrefixes: blobBases(pack, ordinal) },
      };
      offset += location.sealedLength;
      locations.push(location);
      const key = `${pack.cls} ${toHex(id)}`;
      const places = this.#places.get(key) ?? [];
      this.#places.set(key, [...places, location]);
      const prefix = key.slice(0, 5 + 16);
      if (places.length === 0) this.#ids.set(prefix, [...(this.#ids.get(prefix) ?? []), id]);
    }
    const { size, cls, count: blobCount } = pack;
    this.#facts.set(name, { info: { name, size, cls, blobCount }, locations, namedBy: 1 });
    return name;
  }

  bytes(
    kind: ObjectKind,
    name: string,
    range: ByteRange | undefined,
    into: Uint8Array | undefined,
  ): Uint8Array | undefined {
    const bytes = this.#store.get(kind, name);
    return bytes && cut(kind, name, bytes, range, into);
  }

  packInfo(number: number): PackInfo {
    return this.#facts.get(this.#numbers[number]!)!.info;
  }

  readable(blob: string): BlobLocation[] {
    return (this.#places.get(blob) ?? []).filter(({ pack }) => {
      const { namedBy, info } = this.#facts.get(this.#numbers[pack]!)!;
      return namedBy > 0 && this.#store.get("data", info.name) !== undefined;
    });
  }

  byPrefix(cls: BlobClass, prefix: Uint8Array): BlobLocation[] {
    const ids = this.#ids.get(`${cls} ${toHex(prefix)}`) ?? [];
    return ids.flatMap((id) => this.readable(`${cls} ${toHex(id)}`));
  }

  #isReadable(blob: string, depthBelow: number): boolean {
    const cls = blob.slice(0, 4);
    return this.readable(blob).some(
      ({ depth, basePrefixes }) =>
        depth < depthBelow &&
        basePrefixes.every((prefix) =>
          (this.#ids.get(`${cls} ${toHex(prefix)}`) ?? []).some((id) =>
            this.#isReadable(`${cls} ${toHex(id)}`, depth),
          ),
        ),
    );
  }
}
