/** A Storage in memory: what the contract asks for, and nothing to clean up. */
import { concatBytes } from "../../src/bytes.ts";
import { assert, CorruptionError } from "../../src/errors.ts";
import {
  type ByteRange,
  configName,
  type ObjectInfo,
  type ObjectKind,
  type Storage,
  type StorageCall,
  type StorageTraits,
} from "../../src/storage/index.ts";

export class MemoryStorage implements Storage {
  readonly location = "memory";
  readonly traits: StorageTraits;
  readonly #objects = new Map<string, Uint8Array>();
  readonly #storedMs = new Map<string, number | undefined>();
  readonly #now: (() => number) | undefined;

  /** @param now  its own clock, if lists tell when an object was put */
  constructor(traits: StorageTraits = { conditionalPut: true, local: true }, now?: () => number) {
    this.traits = traits;
    this.#now = now;
  }

  async put(
    kind: ObjectKind,
    name: string,
    parts: readonly Uint8Array[],
    call?: StorageCall,
  ): Promise<"created" | "exists"> {
    const key = keyOf(kind, name);
    await turn(call?.signal);
    if (this.#objects.has(key)) return "exists";
    this.#objects.set(key, concatBytes(parts));
    this.#storedMs.set(key, this.#now?.());
    return "created";
  }

  async get(
    kind: ObjectKind,
    name: string,
    range?: ByteRange,
    call?: StorageCall & { readonly into?: Uint8Array },
  ): Promise<Uint8Array | undefined> {
    const key = keyOf(kind, name);
    await turn(call?.signal);
    const whole = this.#objects.get(key);
    if (whole === undefined) return undefined;
    const { offset, length } = range ?? { offset: 0, length: whole.length };
    assert(offset >= 0 && length >= 0, "a range begins and ends at or after 0");
    const bytes = call?.into === undefined ? new Uint8Array(length) : call.into.subarray(0, length);
    assert(bytes.length === length, "a buffer holds the range read into it");
    if (offset + length > whole.length) {
      throw new CorruptionError(
        `Cannot read ${kind} object ${name}: it ends before byte ${offset + length}`,
      );
    }
    bytes.set(whole.subarray(offset, offset + length));
    return bytes;
  }

  async *list(
    kind: ObjectKind,
    call?: StorageCall & { readonly prefix?: string },
  ): AsyncGenerator<ObjectInfo> {
    const start = keyOf(kind, undefined) + (call?.prefix ?? "");
    for (const [key, bytes] of [...this.#objects]) {
      await turn(call?.signal);
      if (!key.startsWith(start)) continue;
      const storedMs = this.#storedMs.get(key);
      yield { name: key.slice(kind.length + 1), size: bytes.length, storedMs };
    }
  }

  async stat(kind: ObjectKind, name: string, call?: StorageCall): Promise<ObjectInfo | undefined> {
    const key = keyOf(kind, name);
    await turn(call?.signal);
    const size = this.#objects.get(key)?.length;
    return size === undefined ? undefined : { name, size };
  }

  async delete(kind: ObjectKind, name: string, call?: StorageCall): Promise<boolean> {
    const key = keyOf(kind, name);
    await turn(call?.signal);
    return this.#objects.delete(key);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  /** Another storage with these objects: what a disk holds after a crash, for many crashes. */
  copy(): MemoryStorage {
    const other = new MemoryStorage(this.traits);
    for (const [key, bytes] of this.#objects) other.#objects.set(key, bytes);
    return other;
  }

  /** Changes stored bytes behind the program's back. */
  damage(kind: ObjectKind, name: string, change: (bytes: Uint8Array) => Uint8Array): void {
    const key = keyOf(kind, name);
    const bytes = this.#objects.get(key);
    assert(bytes !== undefined, `there is no ${key} to damage`);
    this.#objects.set(key, change(bytes.slice()));
  }
}

function keyOf(kind: ObjectKind, name: string | undefined): string {
  const isName =
    name === undefined || (kind === "config" ? name === configName : /^[0-9a-f]{64}$/.test(name));
  assert(isName, `an object is named by 64 hexadecimal digits, not ${name ?? ""}`);
  return `${kind}/${name ?? ""}`;
}

/** Others run in between, as with any real storage. */
async function turn(signal: AbortSignal | undefined): Promise<void> {
  signal?.throwIfAborted();
  await Promise.resolve();
}
