/**
 * A file of tree nodes, each sealed under the host's own key, found by blob id. In memory are only the
 * places.
 *
 *   records of  u32 sealed length ‖ blob id 32 ‖ sealed (kind localCache) of  blob id 32 ‖ node bytes
 */
import { closeSync, fstatSync, fsyncSync, openSync, readSync, writeSync } from "node:fs";
import { concatBytes, equalBytes, toHex } from "../../../bytes.ts";
import { CorruptionError } from "../../../errors.ts";
import { localCacheKey, openObject, sealObject } from "../../../crypto/index.ts";
import type { Repository } from "../repository.ts";
import type { NodeSource } from "../tree-reader.ts";

const idLength = 32;
const headBytes = 4 + idLength;

interface Place {
  readonly offset: number;
  readonly length: number;
}

export class NodeFile implements NodeSource, Disposable {
  readonly #repository: Repository;
  readonly #fd: number;
  readonly #places = new Map<string, Place>();
  #end = 0;

  private constructor(repository: Repository, fd: number) {
    this.#repository = repository;
    this.#fd = fd;
  }

  static create(repository: Repository, path: string): NodeFile {
    return new NodeFile(repository, openSync(path, "wx+", 0o600));
  }

  /** @throws when the file is not there, or does not end where a record does */
  static open(repository: Repository, path: string): NodeFile {
    const file = new NodeFile(repository, openSync(path, "r"));
    try {
      file.#scan(fstatSync(file.#fd).size);
      return file;
    } catch (error) {
      file.close();
      throw error;
    }
  }

  has(id: Uint8Array): boolean {
    return this.#places.has(toHex(id));
  }

  add(id: Uint8Array, bytes: Uint8Array): void {
    if (this.has(id)) return;
    const { id: repoId, keys, environment } = this.#repository;
    const context = { repoId, generation: keys.generation, random: environment.random };
    const sealed = sealObject("localCache", concatBytes([id, bytes]), this.#key(), context);
    const head = new Uint8Array(headBytes);
    new DataView(head.buffer).setUint32(0, sealed.length, true);
    head.set(id, 4);
    writeSync(this.#fd, concatBytes([head, sealed]), 0, undefined, this.#end);
    this.#places.set(toHex(id), { offset: this.#end + headBytes, length: sealed.length });
    this.#end += headBytes + sealed.length;
  }

  /** @throws {CorruptionError} when it is not there, or not what was written */
  read(id: Uint8Array): Uint8Array {
    const place = this.#places.get(toHex(id));
    if (place === undefined) {
      throw new CorruptionError(
        `Cannot read tree node ${toHex(id)}: this host's copy does not hold it`,
      );
    }
    const content = openObject("localCache", this.#bytes(place.offset, place.length), this.#key(), {
      repoId: this.#repository.id,
    });
    if (!equalBytes(content.subarray(0, idLength), id)) {
      throw new CorruptionError(
        `Cannot read tree node ${toHex(id)}: this host's copy holds another in its place`,
      );
    }
    return content.subarray(idLength);
  }

  readTree(id: Uint8Array): Promise<Uint8Array> {
    return Promise.resolve().then(() => this.read(id));
  }

  sync(): void {
    fsyncSync(this.#fd);
  }

  close(): void {
    closeSync(this.#fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #scan(size: number): void {
    while (this.#end < size) {
      const head = this.#bytes(this.#end, headBytes);
      const length = new DataView(head.buffer, head.byteOffset).getUint32(0, true);
      const offset = this.#end + headBytes;
      if (offset + length > size)
        throw new CorruptionError("Cannot read this host's copy of its last tree: it is cut short");
      this.#places.set(toHex(head.subarray(4)), { offset, length });
      this.#end = offset + length;
    }
  }

  #bytes(offset: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    if (readSync(this.#fd, bytes, 0, length, offset) < length) {
      throw new CorruptionError("Cannot read this host's copy of its last tree: it is cut short");
    }
    return bytes;
  }

  #key() {
    return { algorithm: "salt", key: localCacheKey(this.#repository.writer) } as const;
  }
}
