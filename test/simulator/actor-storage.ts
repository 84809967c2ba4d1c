/** The storage as one run sees it: every call waits for its turn. */
import { concatBytes } from "../../src/bytes.ts";
import { CorruptionError } from "../../src/errors.ts";
import type {
  ByteRange,
  ObjectInfo,
  ObjectKind,
  Storage,
  StorageCall,
  StorageTraits,
} from "../../src/storage/index.ts";
import type { Numbers } from "./numbers.ts";
import type { ObjectStore } from "./object-store.ts";
import type { Actor, Scheduler } from "./scheduler.ts";
import type { VirtualTime } from "./virtual-time.ts";

export interface StoreBehaviour {
  readonly traits: StorageTraits;
  /** 0: a list shows all that was put, and nothing that was deleted, before it. */
  readonly settlingMs: number;
  /** The storage's own clock; undefined where lists tell no times. */
  readonly now: () => number | undefined;
}

type GetCall = StorageCall & { readonly into?: Uint8Array };

export class ActorStorage implements Storage {
  readonly location = "simulated";
  readonly #store: ObjectStore;
  readonly #behaviour: StoreBehaviour;
  readonly #scheduler: Scheduler;
  readonly #actor: Actor;
  readonly #time: VirtualTime;
  readonly #numbers: Numbers;

  constructor(
    store: ObjectStore,
    behaviour: StoreBehaviour,
    scheduler: Scheduler,
    actor: Actor,
    time: VirtualTime,
    numbers: Numbers,
  ) {
    this.#store = store;
    this.#behaviour = behaviour;
    this.#scheduler = scheduler;
    this.#actor = actor;
    this.#time = time;
    this.#numbers = numbers;
  }

  get traits(): StorageTraits {
    return this.#behaviour.traits;
  }

  async put(
    kind: ObjectKind,
    name: string,
    parts: readonly Uint8Array[],
    call?: StorageCall,
  ): Promise<"created" | "exists"> {
    call?.signal?.throwIfAborted();
    // A copy: one who is killed does not keep what is on its way.
    const bytes = concatBytes(parts);
    const act = (): unknown =>
      this.#store.put(kind, name, [bytes], {
        listedFromMs: this.#settled(),
        storedMs: this.#behaviour.now(),
      })
        ? "created"
        : "exists";
    return (await this.#scheduler.ask(this.#actor, "put", kind, name, act)) as "created" | "exists";
  }

  async get(
    kind: ObjectKind,
    name: string,
    range?: ByteRange,
    call?: GetCall,
  ): Promise<Uint8Array | undefined> {
    call?.signal?.throwIfAborted();
    const act = (): unknown => this.#store.get(kind, name);
    // What never changes needs no turn.
    const whole = (
      kind === "config" || kind === "keys"
        ? act()
        : await this.#scheduler.ask(this.#actor, "get", kind, name, act)
    ) as Uint8Array | undefined;
    return whole === undefined ? undefined : cut(kind, name, whole, range, call?.into);
  }

  async *list(
    kind: ObjectKind,
    call?: StorageCall & { readonly prefix?: string },
  ): AsyncGenerator<ObjectInfo> {
    call?.signal?.throwIfAborted();
    const { prefix = "" } = call ?? {};
    const now = (): ObjectInfo[] =>
      this.#store.list(kind, this.#time.nowMs).filter(({ name }) => name.startsWith(prefix));
    if (kind === "keys") return yield* now();
    // Pages are of different times.
    const [middle, pages] = this.#numbers.oneIn(4) ? ["8", 2] : ["", 1];
    for (let page = 0; page < pages; page++) {
      const isOnPage = ({ name }: ObjectInfo): boolean =>
        pages === 1 || name < middle === (page === 0);
      const listed = await this.#scheduler.ask(this.#actor, "list", kind, "", () =>
        now().filter(isOnPage),
      );
      yield* listed as ObjectInfo[];
    }
  }

  async stat(kind: ObjectKind, name: string): Promise<ObjectInfo | undefined> {
    const bytes = (await this.#scheduler.ask(this.#actor, "stat", kind, name, () =>
      this.#store.get(kind, name),
    )) as Uint8Array | undefined;
    return bytes === undefined ? undefined : { name, size: bytes.length };
  }

  async delete(kind: ObjectKind, name: string, call?: StorageCall): Promise<boolean> {
    call?.signal?.throwIfAborted();
    const act = (): unknown => this.#store.delete(kind, name, this.#settled());
    return (await this.#scheduler.ask(this.#actor, "delete", kind, name, act)) as boolean;
  }

  close(): Promise<void> {
    return Promise.resolve();
  }

  #settled(): number {
    const { settlingMs } = this.#behaviour;
    if (settlingMs === 0) return 0;
    return this.#time.nowMs + this.#numbers.below(settlingMs);
  }
}

export function cut(
  kind: ObjectKind,
  name: string,
  whole: Uint8Array,
  range: ByteRange | undefined,
  into: Uint8Array | undefined,
): Uint8Array {
  const { offset, length } = range ?? { offset: 0, length: whole.length };
  if (offset + length > whole.length) {
    throw new CorruptionError(
      `Cannot read ${kind} object ${name}: it ends before byte ${offset + length}`,
    );
  }
  const bytes = into?.subarray(0, length) ?? new Uint8Array(length);
  bytes.set(whole.subarray(offset, offset + length));
  return bytes;
}

/** A storage that no other run uses: what is asked happens at once. */
export class StillStorage implements Storage {
  readonly location = "another";
  readonly traits = { conditionalPut: true, local: true };
  readonly #store: ObjectStore;
  readonly #clock: { now(): number };

  constructor(store: ObjectStore, clock: { now(): number }) {
    this.#store = store;
    this.#clock = clock;
  }

  put(kind: ObjectKind, name: string, parts: readonly Uint8Array[]): Promise<"created" | "exists"> {
    return Promise.resolve(this.#store.put(kind, name, parts) ? "created" : "exists");
  }

  get(
    kind: ObjectKind,
    name: string,
    range?: ByteRange,
    call?: GetCall,
  ): Promise<Uint8Array | undefined> {
    const whole = this.#store.get(kind, name);
    return Promise.resolve(whole && cut(kind, name, whole, range, call?.into));
  }

  async *list(kind: ObjectKind): AsyncGenerator<ObjectInfo> {
    await Promise.resolve();
    yield* this.#store.list(kind, this.#clock.now());
  }

  stat(kind: ObjectKind, name: string): Promise<ObjectInfo | undefined> {
    const bytes = this.#store.get(kind, name);
    return Promise.resolve(bytes && { name, size: bytes.length });
  }

  delete(kind: ObjectKind, name: string): Promise<boolean> {
    return Promise.resolve(this.#store.delete(kind, name));
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
