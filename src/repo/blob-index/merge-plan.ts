/** Which index objects to put together so that their number grows with the logarithm of what they hold. */
import { toHex } from "../../bytes.ts";
import { indexedPackBytes, type IndexedPack, type IndexObject } from "../format/index.ts";

/** Encoded, before sealing. Readers take 16 MiB; half of that halves what opening an index holds in memory. */
export const indexObjectBytesTarget = 8 * 1024 * 1024;
/** As many objects of a level make one of the next. */
const levelFactor = 8;
const lowestLevelBytes = 32 * 1024;

export interface SizedObject {
  readonly name: string;
  readonly size: number;
}

/**
 * @param objects  those that no other replaces
 * @returns groups of names, each to become one object; none when there is nothing worth merging
 */
export function planMerges(objects: readonly SizedObject[]): string[][] {
  const levels = new Map<number, SizedObject[]>();
  for (const object of objects) {
    const level = Math.max(
      0,
      Math.ceil(Math.log(object.size / lowestLevelBytes) / Math.log(levelFactor)),
    );
    const members = levels.get(level);
    if (members === undefined) levels.set(level, [object]);
    else members.push(object);
  }
  return [...levels.values()].flatMap((members) => groupsOf(members));
}

/** Fills groups up to the size limit; too small a group waits for more. */
function groupsOf(members: readonly SizedObject[]): string[][] {
  const groups: string[][] = [];
  let group: string[] = [];
  let bytes = 0;
  let isFull = false;
  const close = (): void => {
    if (group.length >= levelFactor || (isFull && group.length > 1)) groups.push(group);
    group = [];
    bytes = 0;
  };
  for (const { name, size } of [...members].sort(
    (a, b) => a.size - b.size || (a.name < b.name ? -1 : 1),
  )) {
    isFull = bytes + size > indexObjectBytesTarget;
    if (isFull) close();
    group.push(name);
    bytes += size;
  }
  isFull = false;
  close();
  return groups;
}

/**
 * The union by pack. Packs are immutable, so what two objects say of one is the same; where it is not,
 * one of them lies and nothing is merged of it: both claims stay in the objects they came in.
 * @returns undefined when the objects contradict each other
 */
export function mergeIndexObjects(
  objects: ReadonlyMap<string, IndexObject>,
  isSame: (a: IndexedPack, b: IndexedPack) => boolean,
): IndexObject | undefined {
  const packs = new Map<string, IndexedPack>();
  for (const { packs: members } of objects.values()) {
    for (const pack of members) {
      const name = toHex(pack.name);
      const known = packs.get(name);
      if (known !== undefined && !isSame(known, pack)) return undefined;
      packs.set(name, pack);
    }
  }
  return { replaces: [...objects.keys()].sort(), session: undefined, packs: [...packs.values()] };
}

/** Parts packs into lists that each fit one index object. */
export function splitPacks(
  packs: readonly IndexedPack[],
  bytesTarget: number = indexObjectBytesTarget,
): IndexedPack[][] {
  const parts: IndexedPack[][] = [];
  let bytes = Infinity;
  for (const pack of packs) {
    const packBytes = indexedPackBytes(pack);
    if (bytes + packBytes > bytesTarget) {
      parts.push([]);
      bytes = 0;
    }
    parts.at(-1)!.push(pack);
    bytes += packBytes;
  }
  return parts;
}
