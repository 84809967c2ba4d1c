/**
 * What the storage holds, and what its lists show of it. Where lists lag, a new object comes late and a
 * deleted one lingers, each for a while of its own that is bounded by the settling time.
 */
import { concatBytes } from "../../src/bytes.ts";
import type { ObjectInfo, ObjectKind } from "../../src/storage/index.ts";

interface StoredObject {
  readonly bytes: Uint8Array;
  readonly listedFromMs: number;
  readonly storedMs: number | undefined;
}

export interface PutTimes {
  /** When lists begin to show it. */
  readonly listedFromMs?: number;
  /** What lists tell of when it was put. */
  readonly storedMs?: number | undefined;
}

interface Lingering {
  readonly kind: ObjectKind;
  readonly info: ObjectInfo;
  readonly untilMs: number;
}

export class ObjectStore {
  readonly #objects: Map<ObjectKind, Map<string, StoredObject>>;
  #lingering: Lingering[] = [];

  constructor(from?: ObjectStore) {
    const objects = from === undefined ? [] : [...from.#objects];
    this.#objects = new Map(objects.map(([kind, named]) => [kind, new Map(named)]));
  }

  /** @returns false when the name is taken */
  put(kind: ObjectKind, name: string, parts: readonly Uint8Array[], times: PutTimes = {}): boolean {
    const objects = this.#kind(kind);
    if (objects.has(name)) return false;
    const { listedFromMs = 0, storedMs } = times;
    objects.set(name, { bytes: concatBytes(parts), listedFromMs, storedMs });
    return true;
  }

  get(kind: ObjectKind, name: string): Uint8Array | undefined {
    return this.#kind(kind).get(name)?.bytes;
  }

  delete(kind: ObjectKind, name: string, lingersUntilMs = 0): boolean {
    const object = this.#kind(kind).get(name);
    if (object === undefined) return false;
    this.#kind(kind).delete(name);
    const info = { name, size: object.bytes.length, storedMs: object.storedMs };
    if (lingersUntilMs > 0) this.#lingering.push({ kind, info, untilMs: lingersUntilMs });
    return true;
  }

  /** In the order in which they came. */
  list(kind: ObjectKind, nowMs: number): ObjectInfo[] {
    const listed: ObjectInfo[] = [];
    for (const [name, { bytes, listedFromMs, storedMs }] of this.#kind(kind))
      if (listedFromMs <= nowMs) listed.push({ name, size: bytes.length, storedMs });
    this.#lingering = this.#lingering.filter(({ untilMs }) => untilMs > nowMs);
    for (const gone of this.#lingering) if (gone.kind === kind) listed.push(gone.info);
    return listed;
  }

  names(kind: ObjectKind): string[] {
    return [...this.#kind(kind).keys()];
  }

  #kind(kind: ObjectKind): Map<string, StoredObject> {
    const known = this.#objects.get(kind) ?? new Map<string, StoredObject>();
    this.#objects.set(kind, known);
    return known;
  }
}
