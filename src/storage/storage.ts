/**
 * Where objects lie. Six kinds of immutable objects; a backend is these few calls and nothing else.
 * Wrappers (retry, limit, fault, …) take a Storage and are one.
 */

/** restic's six folders, so that its REST protocol can hold our repositories. */
export const objectKinds = ["config", "keys", "data", "index", "snapshots", "locks"] as const;
export type ObjectKind = (typeof objectKinds)[number];

/** The only object not named by the SHA-256 of its bytes, alone in kind `config`. */
export const configName = "config";

/** For messages. */
export function objectText(kind: ObjectKind, name: string): string {
  return kind === "config" ? "the config" : `${kind} object ${name}`;
}

export interface ObjectInfo {
  /** 64 lower-case hexadecimal digits (or `config`); strangers' files are never listed. */
  readonly name: string;
  /** Stored bytes. */
  readonly size: number;
  /** When it was put, in milliseconds since the epoch by the storage's own clock; lists tell it where there is one. */
  readonly storedMs?: number | undefined;
}

export interface StorageCall {
  readonly signal?: AbortSignal | undefined;
}

export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

export interface StorageTraits {
  /** Of two racing puts of one name exactly one answers `created`. */
  readonly conditionalPut: boolean;
  /** Bytes are near: random reads cost no round trip, so deltas may read their bases here. */
  readonly local: boolean;
  /** Obeys the bandwidth limits itself, piece by piece; others are held back between calls. */
  readonly paced?: boolean;
  /** What is put is held against deletion for a time, which `protect` extends. */
  readonly holding?: boolean;
}

export interface Storage {
  /** For messages; never holds a credential. */
  readonly location: string;
  readonly traits: StorageTraits;

  /**
   * Puts an object if absent, whole or not at all; returns when it would survive a power cut.
   * `parts` are stored back to back; they are not kept, nor changed, after the promise settles.
   * @returns `exists` when the name is taken (its bytes are left as they are)
   * @throws {BackendError} ENOSPC and the like; nothing half-written stays under `name`
   */
  put(
    kind: ObjectKind,
    name: string,
    parts: readonly Uint8Array[],
    call?: StorageCall,
  ): Promise<"created" | "exists">;

  /**
   * The object's bytes, or those of `range`, or undefined when there is no such object.
   * @param into  bytes are read into its beginning, and a view of it is returned, where given (may be shared memory)
   * @throws {CorruptionError} when the object ends before the range does
   */
  get(
    kind: ObjectKind,
    name: string,
    range?: ByteRange,
    call?: StorageCall & { readonly into?: Uint8Array },
  ): Promise<Uint8Array | undefined>;

  /** Every object of a kind, in any order; `prefix` (hexadecimal) narrows it. */
  list(
    kind: ObjectKind,
    call?: StorageCall & { readonly prefix?: string },
  ): AsyncIterable<ObjectInfo>;

  stat(kind: ObjectKind, name: string, call?: StorageCall): Promise<ObjectInfo | undefined>;

  /** @returns false when there was none */
  delete(kind: ObjectKind, name: string, call?: StorageCall): Promise<boolean>;

  /**
   * Removes what killed runs left half-written, where a storage has such.
   * @param before  milliseconds since the epoch, by the storage's own clock: younger ones may belong to a run that lives
   * @returns bytes freed
   */
  removeStaleTemporaries?(before: number): Promise<number>;

  /**
   * Where the storage is `holding`: holds an object anew, if much of its time is over.
   * @returns whether it was extended
   */
  protect?(kind: ObjectKind, name: string, call?: StorageCall): Promise<boolean>;

  close(): Promise<void>;
}
