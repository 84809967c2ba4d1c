/** Secrets of packs lately read: opening a header costs a box and, mostly, a round trip. */
import { CorruptionError } from "../../errors.ts";
import { openPackHeader, type BlobClass, type FullKeys } from "../../crypto/index.ts";
import type { Storage } from "../../storage/index.ts";
import { packHeaderBytes } from "../format/index.ts";

export interface OpenedPack {
  readonly cls: BlobClass;
  readonly secret: Uint8Array;
}

export interface PackSecretsOptions {
  readonly storage: Storage;
  readonly keys: FullKeys;
  readonly repoId: Uint8Array;
  readonly signal?: AbortSignal | undefined;
}

const secretsMost = 4096;

export class PackSecrets {
  readonly #options: PackSecretsOptions;
  readonly #opened = new Map<string, OpenedPack>();
  readonly #opening = new Map<string, Promise<OpenedPack | undefined>>();

  constructor(options: PackSecretsOptions) {
    this.#options = options;
  }

  has(name: string): boolean {
    return this.#opened.has(name);
  }

  /** @returns undefined when there is no such pack @throws {CorruptionError} */
  async get(name: string): Promise<OpenedPack | undefined> {
    const known = this.#opened.get(name);
    if (known !== undefined) return known;
    const opening = this.#opening.get(name) ?? this.#fetch(name);
    this.#opening.set(name, opening);
    try {
      return await opening;
    } finally {
      this.#opening.delete(name);
    }
  }

  /** Takes a header that was read along with blobs. @throws {CorruptionError} */
  open(name: string, header: Uint8Array): OpenedPack {
    try {
      // A copy: it may lie in memory that is used again.
      const opened = openPackHeader(header.slice(), this.#options.keys, this.#options.repoId);
      this.#opened.set(name, opened);
      for (const oldest of this.#opened.keys()) {
        if (this.#opened.size <= secretsMost) break;
        this.#opened.delete(oldest);
      }
      return opened;
    } catch (cause) {
      if (!(cause instanceof CorruptionError)) throw cause;
      throw new CorruptionError(`Cannot open pack ${name}: its header is damaged`, { cause });
    }
  }

  async #fetch(name: string): Promise<OpenedPack | undefined> {
    const { storage, signal } = this.#options;
    const range = { offset: 0, length: packHeaderBytes };
    const header = await storage.get("data", name, range, { signal });
    return header === undefined ? undefined : this.open(name, header);
  }
}
