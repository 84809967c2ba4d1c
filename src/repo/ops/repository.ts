/**
 * An open repository: its storage, its settings, and the keys that one key slot gave.
 *
 * What costs something (the index, the reader, the list of writers) is opened when it is first asked
 * for, so that `snapshots` on ten million chunks is as quick as on ten.
 */
import {
  type BackupKeys,
  type FullKeys,
  generateFullKeys,
  loadSodium,
  openObject,
  sealObject,
  wipe,
  type WriterKeys,
} from "../../crypto/index.ts";
import { equalBytes, fromHex, toHex } from "../../bytes.ts";
import { CorruptionError, RepositoryExistsError, RepositoryNotFoundError } from "../../errors.ts";
import { configName, type Storage } from "../../storage/index.ts";
import type { BlobIndex } from "../blob-index/index.ts";
import type { BlobReader } from "../blobs/index.ts";
import {
  amendSettings,
  type Config,
  decodeConfig,
  decodeSettings,
  encodeConfig,
  encodeSettings,
  type Settings,
} from "../format/index.ts";
import type { Environment } from "./environment.ts";
import { type EarlyListing, listEarly } from "./early-listing.ts";
import {
  addKeySlot,
  type Credential,
  findKeySlot,
  type KeyObject,
  type OpenedKeys,
  readKeyObjects,
} from "./key-slots.ts";
import { hiddenPacks, loadProtocol } from "./protocol.ts";
import { isFull, needsFullKey, openingKey, sealingKey, sha256 } from "./sealed-records.ts";
import { WriterRegistry } from "./writer-registry.ts";

export class Repository implements AsyncDisposable {
  readonly storage: Storage;
  readonly environment: Environment;
  /** 16 bytes. */
  readonly id: Uint8Array;
  readonly settings: Settings;
  readonly keys: BackupKeys | FullKeys;
  readonly writer: WriterKeys;
  /** SHA-256 of the config object, which every key slot vouches for. */
  readonly configHash: string;
  /** Name of the key slot that was opened. */
  readonly slotName: string;
  #early: EarlyListing | undefined;
  #keyObjects: readonly KeyObject[] | undefined;
  #registry: Promise<WriterRegistry> | undefined;
  readonly #strangers = new Set<string>();
  #index: Promise<BlobIndex> | undefined;
  #reader: Promise<BlobReader> | undefined;

  private constructor(
    storage: Storage,
    environment: Environment,
    opened: OpenedKeys,
    config: Config,
    configHash: string,
  ) {
    this.storage = storage;
    this.environment = environment;
    this.id = fromHex(config.id);
    this.keys = opened.keys;
    this.writer = opened.writer;
    this.slotName = opened.slotName;
    this.configHash = configHash;
    this.settings = openSettings(config, opened.keys);
  }

  /**
   * Makes a new repository in an empty place; the config object, put last, is what makes it one.
   * @param like  cuts as this one does, so that copies and backups of either share what they share
   */
  static async create(
    storage: Storage,
    credential: Credential,
    environment: Environment,
    like?: Pick<Repository, "settings" | "keys">,
  ): Promise<Repository> {
    await loadSodium();
    if ((await storage.stat("config", configName)) !== undefined) throw existsError(storage);
    const { random } = environment;
    const generated = generateFullKeys(random);
    const keys =
      like === undefined ? generated : { ...generated, cutKey: like.keys.cutKey.slice() };
    const id = random.bytes(16);
    const created = new Date(environment.clock.now()).toISOString();
    const settings = sealObject(
      "settings",
      encodeSettings({ ...(like?.settings ?? (await defaultSettings())), created }),
      sealingKey("settings", keys),
      {
        repoId: id,
        generation: keys.generation,
        random,
      },
    );
    const configBytes = encodeConfig({ id: toHex(id), features: [], settings });
    const configHash = sha256(configBytes);
    const { slotName } = await addKeySlot(
      { storage, id, keys, configHash, environment },
      { role: "full", credential },
    );
    if (
      (await storage.put("config", configName, [configBytes])) === "exists" &&
      !(await holdsOwn(storage, configBytes))
    ) {
      await storage.delete("keys", slotName);
      throw existsError(storage);
    }
    return Repository.open(storage, credential, environment);
  }

  /**
   * Opens with whichever key slot the credential fits. The storage is closed with the repository.
   * @param options  `readsSnapshots`: the snapshots as of now are what will be asked for
   */
  static async open(
    storage: Storage,
    credential: Credential,
    environment: Environment,
    options: { readonly readsSnapshots?: boolean } = {},
  ): Promise<Repository> {
    // All at once: what the storage is asked here does not depend on one another.
    const keyObjects = readKeyObjects(storage);
    keyObjects.catch(() => undefined); // that there is no repository is told first
    const early = options.readsSnapshots === true ? listEarly(storage) : undefined;
    const [configBytes] = await Promise.all([storage.get("config", configName), loadSodium()]);
    if (configBytes === undefined) {
      throw new RepositoryNotFoundError(
        `Cannot open repository ${storage.location}: it has no config object`,
      );
    }
    const config = decodeConfig(configBytes);
    const configHash = sha256(configBytes);
    const objects = await keyObjects;
    const repoId = fromHex(config.id);
    const opened = await findKeySlot(storage, objects, repoId, credential, environment);
    if (opened.configHash !== configHash) {
      throw new CorruptionError(
        `Cannot open repository ${storage.location}: its config is not the one that the key slot vouches for`,
        {
          hint: "The storage has changed or replaced the config object; restore it from a copy of the repository",
        },
      );
    }
    const repository = new Repository(storage, environment, opened, config, configHash);
    repository.#keyObjects = objects;
    repository.#early = early;
    return repository;
  }

  get idHex(): string {
    return toHex(this.id);
  }

  get role(): "full" | "backup" {
    return isFull(this.keys) ? "full" : "backup";
  }

  /** @throws {FailedError} with a backup key, which can add backups and no more */
  get fullKeys(): FullKeys {
    if (isFull(this.keys)) return this.keys;
    throw needsFullKey("Cannot do this");
  }

  /** Whose signatures count. */
  writerRegistry(): Promise<WriterRegistry> {
    this.#registry ??= this.#loadRegistry();
    return this.#registry;
  }

  /** As `writerRegistry`; looks again for a signer it does not know, whose key may be newer than the last look. */
  async registryFor(content: Uint8Array): Promise<WriterRegistry> {
    const registry = await this.writerRegistry();
    const writer = registry.strangerOf(content);
    if (writer === undefined) return registry;
    if (!this.#strangers.has(writer)) {
      this.#strangers.add(writer);
      this.forgetRegistry();
    }
    return this.writerRegistry();
  }

  /** A card was written: who asks next is told of it. */
  forgetRegistry(): void {
    this.#keyObjects = undefined;
    this.#registry = undefined;
  }

  /** The listing of who opened it `readsSnapshots`; once, since it ages. */
  takeEarlyListing(): EarlyListing | undefined {
    const early = this.#early;
    this.#early = undefined;
    return early;
  }

  /** How new packs are written: the settings as amended since `init` (R25). */
  async writeSettings(): Promise<Settings> {
    return amendSettings(this.settings, (await this.writerRegistry()).amendments);
  }

  index(): Promise<BlobIndex> {
    this.#index ??= this.#openIndex();
    return this.#index;
  }

  /**
   * The index for a writer, whose session exists by now: packs that are not listed, or that any mark
   * names, hold nothing that may be reused (R2, R3). Readers find what is there all the same.
   */
  async writersIndex(): Promise<BlobIndex> {
    const [index, protocol] = await Promise.all([this.#freshIndex(), loadProtocol(this, ["mark"])]);
    index.hidePacks(hiddenPacks(protocol));
    await index.restrictToListed(this.storage.list("data"));
    return index;
  }

  async #freshIndex(): Promise<BlobIndex> {
    const wasOpen = this.#index !== undefined;
    const index = await this.index();
    if (wasOpen) await index.refresh();
    return index;
  }

  reader(): Promise<BlobReader> {
    this.#reader ??= this.#openReader();
    return this.#reader;
  }

  async close(): Promise<void> {
    // What could not be opened has said so where it was asked for.
    const reader = await this.#reader?.catch(() => undefined);
    const index = await this.#index?.catch(() => undefined);
    await reader?.close();
    index?.close();
    await this.storage.close();
    wipe(...secretsOf(this.keys), this.writer.signSecret);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** From what opening has read; after `forgetRegistry`, from what the storage has now. */
  async #loadRegistry(): Promise<WriterRegistry> {
    const objects = this.#keyObjects ?? (await readKeyObjects(this.storage));
    this.#keyObjects = undefined;
    return WriterRegistry.from(objects, this.keys, this.id);
  }

  async #openIndex(): Promise<BlobIndex> {
    const registry = await this.writerRegistry();
    const { BlobIndex } = await import("../blob-index/index.ts");
    const index = await BlobIndex.open({
      storage: this.storage,
      keys: this.keys,
      repoId: this.id,
      cacheDir: this.environment.cacheDir,
      verify: (kind, content) => registry.verify(kind, content),
      onNote: (text) => {
        this.environment.note(text);
      },
    });
    for (const { name, error } of index.damaged)
      this.environment.warn(`Index object ${name} is damaged: ${error.message}`);
    return index;
  }

  async #openReader(): Promise<BlobReader> {
    const { BlobReader } = await import("../blobs/index.ts");
    return BlobReader.open({
      storage: this.storage,
      keys: this.fullKeys,
      repoId: this.id,
      index: await this.index(),
      lanes: this.environment.lanes,
    });
  }
}

async function defaultSettings(): Promise<Omit<Settings, "created">> {
  const { defaultImageCutParams, defaultStreamCutParams } = await import("../../chunker/index.ts");
  return {
    chunker: {
      image: { algorithm: "nh-siphash-v1", ...defaultImageCutParams },
      stream: { algorithm: "fastcdc-wasm-v1", ...defaultStreamCutParams },
    },
    pack: { targetBytes: 16 * 1024 * 1024 },
    delta: { depth: 1 },
    map: { fanout: 128 },
  };
}

function openSettings(config: Config, keys: BackupKeys): Settings {
  return decodeSettings(
    openObject("settings", config.settings, openingKey("settings", keys), {
      repoId: fromHex(config.id),
    }),
  );
}

/** A put whose answer was lost is made again, and finds what it has put itself. */
async function holdsOwn(storage: Storage, configBytes: Uint8Array): Promise<boolean> {
  const stored = await storage.get("config", configName);
  return stored !== undefined && equalBytes(stored, configBytes);
}

function existsError(storage: Storage): RepositoryExistsError {
  return new RepositoryExistsError(
    `Cannot create repository ${storage.location}: there is one already`,
    {
      hint: "Use it, or choose another place",
    },
  );
}

function secretsOf(keys: BackupKeys | FullKeys): Uint8Array[] {
  const shared = [keys.dataIdKey, keys.treeIdKey, keys.cutKey, keys.indexKey, keys.sessionKey];
  return isFull(keys)
    ? [...shared, keys.dataBoxSecret, keys.treeBoxSecret, keys.adminSecret]
    : shared;
}
