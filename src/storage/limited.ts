/**
 * Bandwidth limits for storages that do not obey them piece by piece: calls are held back until what
 * went before has been paid for. Sessions' refreshes are paid for and never wait: a run that could not
 * refresh would be taken for dead.
 */
import type { Pace } from "./backend.ts";
import type { ByteRange, ObjectKind, Storage, StorageCall } from "./storage.ts";
import { lengthOf, WrappedStorage } from "./wrapped.ts";

export class LimitedStorage extends WrappedStorage {
  readonly #pace: Pace;

  constructor(inner: Storage, pace: Pace) {
    super(inner);
    this.#pace = pace;
  }

  override async put(
    kind: ObjectKind,
    name: string,
    parts: readonly Uint8Array[],
    call?: StorageCall,
  ): Promise<"created" | "exists"> {
    const turn = this.#pace.send(lengthOf(parts), call?.signal);
    await (kind === "locks" ? settled(turn) : turn);
    return super.put(kind, name, parts, call);
  }

  override async get(
    kind: ObjectKind,
    name: string,
    range?: ByteRange,
    call?: StorageCall & { readonly into?: Uint8Array },
  ): Promise<Uint8Array | undefined> {
    await this.#pace.receive(0, call?.signal);
    const bytes = await super.get(kind, name, range, call);
    // How much comes is known only now: the next call waits for it.
    void settled(this.#pace.receive(bytes?.length ?? 0));
    return bytes;
  }
}

/** Not waited for. */
function settled(turn: Promise<void>): Promise<void> {
  turn.catch(() => undefined);
  return Promise.resolve();
}
