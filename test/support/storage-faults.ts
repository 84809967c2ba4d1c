/** Storage that dies, fills up, rots, stumbles or takes notes: what a run must live through. */
import { BackendError } from "../../src/errors.ts";
import type {
  ByteRange,
  ObjectInfo,
  ObjectKind,
  Storage,
  StorageCall,
} from "../../src/storage/index.ts";
import { WrappedStorage } from "../../src/storage/wrapped.ts";

type GetCall = StorageCall & { readonly into?: Uint8Array };
type ListCall = StorageCall & { readonly prefix?: string };

/** Stands for the process's end: no code under test may take it for a storage's failure. */
export class SimulatedCrash extends Error {
  override readonly name = "SimulatedCrash";
}

/** Lets `survive` mutations through; with the next one the process is dead, for reads as well. */
export class CrashingStorage extends WrappedStorage {
  readonly #isTorn: boolean;
  #left: number;
  #isDead = false;

  /** @param options.torn  the mutation it dies of is done, though nobody hears of it */
  constructor(inner: Storage, survive: number, options: { readonly torn?: boolean } = {}) {
    super(inner);
    this.#left = survive;
    this.#isTorn = options.torn ?? false;
  }

  get hasCrashed(): boolean {
    return this.#isDead;
  }

  override put(
    kind: ObjectKind,
    name: string,
    parts: readonly Uint8Array[],
    call?: StorageCall,
  ): Promise<"created" | "exists"> {
    return this.#mutate(() => super.put(kind, name, parts, call));
  }

  override delete(kind: ObjectKind, name: string, call?: StorageCall): Promise<boolean> {
    return this.#mutate(() => super.delete(kind, name, call));
  }

  override get(
    kind: ObjectKind,
    name: string,
    range?: ByteRange,
    call?: GetCall,
  ): Promise<Uint8Array | undefined> {
    return this.#alive(() => super.get(kind, name, range, call));
  }

  override stat(
    kind: ObjectKind,
    name: string,
    call?: StorageCall,
  ): Promise<ObjectInfo | undefined> {
    return this.#alive(() => super.stat(kind, name, call));
  }

  override async *list(kind: ObjectKind, call?: ListCall): AsyncGenerator<ObjectInfo> {
    if (this.#isDead) throw new SimulatedCrash();
    for await (const info of super.list(kind, call)) {
      if (this.hasCrashed) throw new SimulatedCrash();
      yield info;
    }
  }

  async #mutate<T>(act: () => Promise<T>): Promise<T> {
    if (this.#isDead) throw new SimulatedCrash();
    if (this.#left-- > 0) return this.#alive(act);
    this.#isDead = true;
    if (this.#isTorn) await act();
    throw new SimulatedCrash();
  }

  /** The dead hear no answer, though what they asked for may have been done. */
  async #alive<T>(act: () => Promise<T>): Promise<T> {
    if (this.#isDead) throw new SimulatedCrash();
    const answer = await act();
    if (this.hasCrashed) throw new SimulatedCrash();
    return answer;
  }
}

/** Has room for so many bytes; deleting makes room again. */
export class FullStorage extends WrappedStorage {
  #room: number;

  constructor(inner: Storage, bytes: number) {
    super(inner);
    this.#room = bytes;
  }

  override async put(
    kind: ObjectKind,
    name: string,
    parts: readonly Uint8Array[],
    call?: StorageCall,
  ): Promise<"created" | "exists"> {
    const bytes = parts.reduce((sum, part) => sum + part.length, 0);
    if (bytes > this.#room) {
      throw new BackendError(`Cannot store ${kind} object ${name}: no space left (ENOSPC)`, {
        errno: "ENOSPC",
      });
    }
    this.#room -= bytes; // Before the await: puts run side by side.
    let isStored = false;
    try {
      const answer = await super.put(kind, name, parts, call);
      isStored = answer === "created";
      return answer;
    } finally {
      if (!isStored) this.#room += bytes;
    }
  }

  override async delete(kind: ObjectKind, name: string, call?: StorageCall): Promise<boolean> {
    const size = (await super.stat(kind, name, call))?.size ?? 0;
    const isGone = await super.delete(kind, name, call);
    if (isGone) this.#room += size;
    return isGone;
  }
}

/** Flips one bit of what is read, each time anew; what is stored stays whole. */
export class FlippingStorage extends WrappedStorage {
  readonly #random: (below: number) => number;
  readonly #kinds: readonly ObjectKind[];
  #flips = 0;

  /** @param random  a whole number from 0 to below its argument */
  constructor(inner: Storage, random: (below: number) => number, kinds: readonly ObjectKind[]) {
    super(inner);
    this.#random = random;
    this.#kinds = kinds;
  }

  get flips(): number {
    return this.#flips;
  }

  override async get(
    kind: ObjectKind,
    name: string,
    range?: ByteRange,
    call?: GetCall,
  ): Promise<Uint8Array | undefined> {
    const bytes = await super.get(kind, name, range, call);
    if (bytes === undefined || bytes.length === 0 || !this.#kinds.includes(kind)) return bytes;
    const at = this.#random(bytes.length);
    bytes[at]! ^= 1 << this.#random(8);
    this.#flips++;
    return bytes;
  }
}

/** Every call fails once for the moment, and works when it is made again; listings break off after one. */
export class FlakyStorage extends WrappedStorage {
  readonly #failed = new Set<string>();

  override async put(
    kind: ObjectKind,
    name: string,
    parts: readonly Uint8Array[],
    call?: StorageCall,
  ): Promise<"created" | "exists"> {
    this.#stumble(`put ${kind} ${name}`);
    return super.put(kind, name, parts, call);
  }

  override async get(
    kind: ObjectKind,
    name: string,
    range?: ByteRange,
    call?: GetCall,
  ): Promise<Uint8Array | undefined> {
    this.#stumble(`get ${kind} ${name}`);
    return super.get(kind, name, range, call);
  }

  override async stat(
    kind: ObjectKind,
    name: string,
    call?: StorageCall,
  ): Promise<ObjectInfo | undefined> {
    this.#stumble(`stat ${kind} ${name}`);
    return super.stat(kind, name, call);
  }

  override async delete(kind: ObjectKind, name: string, call?: StorageCall): Promise<boolean> {
    this.#stumble(`delete ${kind} ${name}`);
    return super.delete(kind, name, call);
  }

  override async *list(kind: ObjectKind, call?: ListCall): AsyncGenerator<ObjectInfo> {
    let isFirst = true;
    for await (const info of super.list(kind, call)) {
      yield info;
      if (isFirst) this.#stumble(`list ${kind} ${call?.prefix ?? ""}`);
      isFirst = false;
    }
  }

  #stumble(call: string): void {
    if (this.#failed.delete(call)) return;
    this.#failed.add(call);
    throw new BackendError(`Cannot ${call}: try again (EAGAIN)`, {
      errno: "EAGAIN",
      temporary: true,
    });
  }
}

export interface RecordedCall {
  readonly operation: "put" | "get" | "list" | "stat" | "delete";
  readonly kind: ObjectKind;
  readonly name: string | undefined;
  /** Places in one count of beginnings and ends: `a.end < b.begin` says that a was done before b began. */
  readonly begin: number;
  /** Infinity while it runs, and when it failed. */
  readonly end: number;
}

/** Notes what was asked and when it was done, for tests of order: pack, then index, then snapshot. */
export class RecordingStorage extends WrappedStorage {
  readonly calls: RecordedCall[] = [];
  #count = 0;

  override put(
    kind: ObjectKind,
    name: string,
    parts: readonly Uint8Array[],
    call?: StorageCall,
  ): Promise<"created" | "exists"> {
    return this.#note("put", kind, name, () => super.put(kind, name, parts, call));
  }

  override get(
    kind: ObjectKind,
    name: string,
    range?: ByteRange,
    call?: GetCall,
  ): Promise<Uint8Array | undefined> {
    return this.#note("get", kind, name, () => super.get(kind, name, range, call));
  }

  override stat(
    kind: ObjectKind,
    name: string,
    call?: StorageCall,
  ): Promise<ObjectInfo | undefined> {
    return this.#note("stat", kind, name, () => super.stat(kind, name, call));
  }

  override delete(kind: ObjectKind, name: string, call?: StorageCall): Promise<boolean> {
    return this.#note("delete", kind, name, () => super.delete(kind, name, call));
  }

  override async *list(kind: ObjectKind, call?: ListCall): AsyncGenerator<ObjectInfo> {
    const at = this.#begin("list", kind, undefined);
    yield* super.list(kind, call);
    this.#end(at);
  }

  async #note<T>(
    operation: RecordedCall["operation"],
    kind: ObjectKind,
    name: string,
    act: () => Promise<T>,
  ): Promise<T> {
    const at = this.#begin(operation, kind, name);
    const answer = await act();
    this.#end(at);
    return answer;
  }

  #begin(operation: RecordedCall["operation"], kind: ObjectKind, name: string | undefined): number {
    return this.calls.push({ operation, kind, name, begin: this.#count++, end: Infinity }) - 1;
  }

  #end(at: number): void {
    this.calls[at] = { ...this.calls[at]!, end: this.#count++ };
  }
}
