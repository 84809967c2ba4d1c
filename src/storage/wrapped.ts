/** Passes every call on to the storage beneath: what wrappers begin with. */
import type {
  ByteRange,
  ObjectInfo,
  ObjectKind,
  Storage,
  StorageCall,
  StorageTraits,
} from "./storage.ts";

export class WrappedStorage implements Storage {
  protected readonly inner: Storage;

  constructor(inner: Storage) {
    this.inner = inner;
  }

  get location(): string {
    return this.inner.location;
  }

  get traits(): StorageTraits {
    return this.inner.traits;
  }

  put(
    kind: ObjectKind,
    name: string,
    parts: readonly Uint8Array[],
    call?: StorageCall,
  ): Promise<"created" | "exists"> {
    return this.inner.put(kind, name, parts, call);
  }

  get(
    kind: ObjectKind,
    name: string,
    range?: ByteRange,
    call?: StorageCall & { readonly into?: Uint8Array },
  ): Promise<Uint8Array | undefined> {
    return this.inner.get(kind, name, range, call);
  }

  list(
    kind: ObjectKind,
    call?: StorageCall & { readonly prefix?: string },
  ): AsyncIterable<ObjectInfo> {
    return this.inner.list(kind, call);
  }

  stat(kind: ObjectKind, name: string, call?: StorageCall): Promise<ObjectInfo | undefined> {
    return this.inner.stat(kind, name, call);
  }

  delete(kind: ObjectKind, name: string, call?: StorageCall): Promise<boolean> {
    return this.inner.delete(kind, name, call);
  }

  async removeStaleTemporaries(before: number): Promise<number> {
    return (await this.inner.removeStaleTemporaries?.(before)) ?? 0;
  }

  async protect(kind: ObjectKind, name: string, call?: StorageCall): Promise<boolean> {
    return (await this.inner.protect?.(kind, name, call)) ?? false;
  }

  close(): Promise<void> {
    return this.inner.close();
  }
}

/** The bytes of a put. */
export function lengthOf(parts: readonly Uint8Array[]): number {
  return parts.reduce((sum, part) => sum + part.length, 0);
}
