/**
 * Copies of the packs that this host stored, on its own disk: where deltas find their bases when the
 * repository is far away, or when this host's key may not read it.
 *
 *   FOLDER/REPOSITORY ID/PACK NAME:   u32 length ‖ sealed (kind localCache) of  pack name 32 ‖ pack's secret 32
 *                                     ‖ the pack as it was stored
 *
 * A cache: what is missing, damaged or another run's half is no base, and nothing is lost with it. The
 * pack that was used longest ago goes first.
 */
import {
  mkdirSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { concatBytes, equalBytes, fromHex, toHex } from "../../bytes.ts";
import { CorruptionError } from "../../errors.ts";
import {
  createIdHasher,
  openObject,
  PackOpener,
  sealObject,
  type BackupKeys,
  type Random,
} from "../../crypto/index.ts";
import type { BlobIndex, BlobLocation } from "../blob-index/index.ts";
import { BlobDecoder } from "./open-blob.ts";
import { PlainCache } from "./plain-cache.ts";
import { SharedSlab } from "./shared-slab.ts";
import { openZstd } from "./zstd.ts";

export interface BaseCacheOptions {
  /** Shared by all repositories of this host; made if it is not there. */
  readonly folder: string;
  readonly bytesMost: number;
  readonly repoId: Uint8Array;
  readonly keys: Pick<BackupKeys, "dataIdKey" | "treeIdKey" | "generation">;
  /** What the secrets of packs are sealed under: the host's own. */
  readonly cacheKey: Uint8Array;
  readonly index: Pick<BlobIndex, "lookupAll" | "packInfo">;
  readonly random: Random;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** Told once when the folder cannot be written to. */
  readonly onFault: (error: Error) => void;
}

const plainBytesMost = 16 * 1024 * 1024;
const packName = /^[0-9a-f]{64}$/;
const temporaryPrefix = ".tmp-";
/** Another run's half-written copy is younger. */
const leftoverMs = 24 * 3600 * 1000;

interface CachedPack {
  readonly secret: Uint8Array;
  /** Where the pack begins in its file. */
  readonly start: number;
}

export class BaseCache {
  readonly #options: BaseCacheOptions;
  readonly #folder: string;
  readonly #decoder: BlobDecoder;
  readonly #plain = new PlainCache(plainBytesMost);
  readonly #shared = new SharedSlab();
  /** By name; undefined: not here, or not to be opened. */
  readonly #packs = new Map<string, Promise<CachedPack | undefined>>();
  #isWritable = true;

  constructor(options: BaseCacheOptions) {
    this.#options = options;
    this.#folder = join(options.folder, toHex(options.repoId));
    this.#decoder = new BlobDecoder(createIdHasher(options.keys), openZstd("auto"));
  }

  /** @returns a chunk's plain bytes, its id checked, in shared memory; undefined when they are not here */
  async read(id: Uint8Array): Promise<Uint8Array | undefined> {
    const known = this.#plain.get("data", id);
    if (known !== undefined) return known;
    for (const location of this.#options.index.lookupAll("data", id)) {
      if (location.depth > 0) continue;
      try {
        const plain = await this.#readAt(id, location);
        if (plain === undefined) continue;
        this.#plain.put("data", id, plain);
        return plain;
      } catch (error) {
        // A damaged copy is no base.
        if (!(error instanceof CorruptionError) && !isSystemError(error)) throw error;
      }
    }
    return undefined;
  }

  /** Keeps a copy of a pack that is durable in the repository. */
  add(name: Uint8Array, pack: Uint8Array, secret: Uint8Array): void {
    if (!this.#isWritable || pack.length > this.#options.bytesMost) return;
    const { cacheKey, repoId, keys, random } = this.#options;
    const sealed = sealObject(
      "localCache",
      concatBytes([name, secret]),
      { algorithm: "salt", key: cacheKey },
      { repoId, generation: keys.generation, random },
    );
    const head = new Uint8Array(4);
    new DataView(head.buffer).setUint32(0, sealed.length, true);
    const temporary = join(this.#folder, `${temporaryPrefix}${toHex(random.bytes(8))}`);
    try {
      mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
      writeFileSync(temporary, concatBytes([head, sealed, pack]), { mode: 0o600, flag: "wx" });
      renameSync(temporary, join(this.#folder, toHex(name)));
      this.#packs.delete(toHex(name));
    } catch (error) {
      if (!isSystemError(error)) throw error;
      this.#giveUp(temporary, error);
    }
  }

  /** Removes what exceeds the size, the pack that was used longest ago first; at a run's end. */
  trim(): void {
    const { folder, bytesMost, now } = this.#options;
    if (!this.#isWritable) return;
    try {
      const files = readdirSync(folder, { withFileTypes: true })
        .filter((entry) => entry.isDirectory() && /^[0-9a-f]{32}$/.test(entry.name))
        .flatMap(({ name }) => filesOf(join(folder, name)))
        .sort((a, b) => b.usedMs - a.usedMs);
      let bytes = 0;
      for (const { path, isPack, size, usedMs } of files) {
        if (isPack) bytes += size;
        if (isPack ? bytes > bytesMost : now() - usedMs > leftoverMs) rmSync(path, { force: true });
      }
    } catch (error) {
      if (!isSystemError(error)) throw error;
      this.#options.onFault(error);
    }
  }

  #giveUp(temporary: string, error: Error): void {
    this.#isWritable = false;
    this.#options.onFault(error);
    try {
      rmSync(temporary, { force: true });
    } catch {
      // Where nothing can be written nothing was left; else `trim` finds it.
    }
  }

  async #readAt(id: Uint8Array, location: BlobLocation): Promise<Uint8Array | undefined> {
    const { repoId, index } = this.#options;
    const name = index.packInfo(location.pack).name;
    let opening = this.#packs.get(name);
    if (opening === undefined) {
      opening = this.#openPack(name);
      this.#packs.set(name, opening);
    }
    const pack = await opening;
    if (pack === undefined) return undefined;
    await using file = await open(join(this.#folder, name));
    const sealed = await readAt(file, pack.start + location.offset, location.sealedLength);
    const opener = new PackOpener(pack.secret, repoId, "data");
    try {
      const blob = { ...location, id };
      const into = this.#shared.take(location.plainLength);
      const plain = this.#decoder.decode("data", blob, opener.openBlob(blob, sealed), into);
      return plain instanceof Uint8Array ? plain : undefined;
    } finally {
      opener.wipe();
    }
  }

  /** @returns undefined when there is no copy that can be opened */
  async #openPack(name: string): Promise<CachedPack | undefined> {
    const { cacheKey, repoId, now } = this.#options;
    const path = join(this.#folder, name);
    try {
      await using file = await open(path);
      const head = await readAt(file, 0, 4);
      const length = new DataView(head.buffer, head.byteOffset, 4).getUint32(0, true);
      if (length > 4096) return undefined;
      const content = openObject(
        "localCache",
        await readAt(file, 4, length),
        { algorithm: "salt", key: cacheKey },
        { repoId },
      );
      if (!equalBytes(content.subarray(0, 32), fromHex(name))) return undefined;
      utimesSync(path, now() / 1000, now() / 1000);
      return { secret: content.slice(32), start: 4 + length };
    } catch (error) {
      if (error instanceof CorruptionError || isSystemError(error)) return undefined;
      throw error;
    }
  }
}

interface CacheFile {
  readonly path: string;
  readonly isPack: boolean;
  readonly size: number;
  readonly usedMs: number;
}

function filesOf(folder: string): CacheFile[] {
  return readdirSync(folder).flatMap((name) => {
    const isPack = packName.test(name);
    if (!isPack && !name.startsWith(temporaryPrefix)) return [];
    const path = join(folder, name);
    const stat = statSync(path, { throwIfNoEntry: false });
    return stat === undefined ? [] : [{ path, isPack, size: stat.size, usedMs: stat.mtimeMs }];
  });
}

async function readAt(file: FileHandle, offset: number, length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length;) {
    const { bytesRead } = await file.read(bytes, at, length - at, offset + at);
    if (bytesRead === 0) throw new CorruptionError("Cannot read a cached pack: it is cut off");
    at += bytesRead;
  }
  return bytes;
}

function isSystemError(error: unknown): error is Error {
  return error instanceof Error && "errno" in error;
}
