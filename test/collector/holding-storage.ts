/** A storage that holds objects against deletion, and notes which it was asked to hold anew. */
import type { ObjectKind, StorageTraits } from "../../src/storage/index.ts";
import { WrappedStorage } from "../../src/storage/wrapped.ts";

export class HoldingStorage extends WrappedStorage {
  readonly held = new Map<ObjectKind, Set<string>>();

  override get traits(): StorageTraits {
    return { ...super.traits, holding: true };
  }

  override protect(kind: ObjectKind, name: string): Promise<boolean> {
    this.held.set(kind, (this.held.get(kind) ?? new Set()).add(name));
    return Promise.resolve(true);
  }
}
