/**
 * What a reader needs first, asked for while its keys are still on their way: far from the storage,
 * answers that wait for each other are what takes the time.
 */
import type { ObjectInfo, ObjectKind, Storage } from "../../storage/index.ts";

export interface EarlyListing {
  readonly snapshots: Promise<readonly string[]>;
  readonly index: Promise<readonly ObjectInfo[]>;
}

export function listEarly(storage: Storage): EarlyListing {
  const snapshots = namesOf(storage, "snapshots");
  // After the snapshots: a fence written in between is seen, the other way a fenced snapshot would count.
  const index = snapshots.then(() => objectsOf(storage, "index"));
  // Who awaits them hears of it; a wrong password is told first.
  for (const listing of [snapshots, index]) listing.catch(() => undefined);
  return { snapshots, index };
}

export async function namesOf(storage: Storage, kind: ObjectKind): Promise<string[]> {
  return (await objectsOf(storage, kind)).map(({ name }) => name);
}

export async function objectsOf(storage: Storage, kind: ObjectKind): Promise<ObjectInfo[]> {
  const objects: ObjectInfo[] = [];
  for await (const object of storage.list(kind)) objects.push(object);
  return objects;
}
