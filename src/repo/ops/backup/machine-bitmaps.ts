/**
 * The bitmaps that one repository keeps in a machine.
 *
 * A bitmap counts what the guest writes since the last committed snapshot; the snapshot knows it by name
 * (the entry's inode is the number in it). A run begins a new bitmap at its own moment; only when its
 * snapshot is durable does the old one go. So whatever fails, the next run finds either the bitmap of the
 * newest snapshot, or none, and then reads everything.
 */
import { utf8Bytes } from "../../../bytes.ts";
import {
  type BitmapPlan,
  type DirtyBitmap,
  type MachineDisk,
  type Monitor,
  removeBitmap,
} from "../../../machine/index.ts";
import type { DirectoryEntry } from "../../format/index.ts";
import type { Repository } from "../repository.ts";
import { sha256 } from "../sealed-records.ts";

export interface BitmapChoice {
  readonly bitmap: BitmapPlan;
  /** The number in the new bitmap's name. */
  readonly state: bigint;
  /** Of the disk when the old bitmap began: what is beyond it is new and in no bitmap. */
  readonly sizeBefore: number;
  /** Why there was a snapshot, and all is read all the same. */
  readonly reasonToReadAll?: string | undefined;
}

export class MachineBitmaps {
  readonly #qmp: Monitor;
  readonly #prefix: string;
  readonly #random: number;

  constructor(qmp: Monitor, { idHex, environment }: Repository) {
    this.#qmp = qmp;
    this.#prefix = `ashlar-${idHex.slice(0, 8)}-`;
    this.#random = Buffer.from(environment.random.bytes(4)).readUInt32LE();
  }

  /**
   * Takes out bitmaps of runs that never committed, and decides whether the one that did can be used.
   *
   * @param before  of the parent snapshot
   * @param force  read everything all the same
   */
  async choose(
    disk: MachineDisk,
    before: DirectoryEntry | undefined,
    force: boolean,
  ): Promise<BitmapChoice> {
    const last = before === undefined ? 0n : before.metadata.inode;
    const wanted = last === 0n ? undefined : this.#name(last);
    const state = this.#state(disk);
    const sizeBefore = before?.metadata.size ?? 0;
    const bitmap = disk.bitmaps.find(({ name }) => name === wanted);
    const reasonToReadAll =
      before === undefined || wanted === undefined
        ? undefined
        : whyReadAll(disk, bitmap, isSameFile(last, state), sizeBefore);
    for (const { name } of disk.bitmaps) {
      const isOurs = name.startsWith(this.#prefix);
      if (isOurs && (name !== wanted || reasonToReadAll !== undefined))
        await removeBitmap(this.#qmp, disk.node, name);
    }
    const isUsed = reasonToReadAll === undefined && !force;
    const since = isUsed ? bitmap?.name : undefined;
    return { bitmap: { begin: this.#name(state), since }, state, sizeBefore, reasonToReadAll };
  }

  /**
   * Half of it tells which file the bitmap is in: with an external snapshot libvirt gives the new file an
   * empty bitmap of the same name, which knows nothing of what changed before.
   */
  #state({ image }: MachineDisk): bigint {
    const file = BigInt(`0x${sha256(utf8Bytes(image)).slice(0, 8)}`);
    return (BigInt(this.#random) << 32n) | file | 1n;
  }

  #name(state: bigint): string {
    return this.#prefix + state.toString(16).padStart(16, "0");
  }
}

function whyReadAll(
  disk: MachineDisk,
  bitmap: DirtyBitmap | undefined,
  isInSameFile: boolean,
  sizeBefore: number,
): string | undefined {
  if (bitmap === undefined && !disk.keepsBitmaps)
    return `its bitmap ended with the machine: a ${disk.format} disk${disk.format === "qcow2" ? " of compat 0.10" : ""} cannot keep one`;
  if (bitmap === undefined)
    return "the bitmap of the last snapshot is gone (a crash, an external snapshot, a migration, another image, or another program)";
  if (bitmap.fault !== undefined)
    return `the bitmap of the last snapshot cannot be used: ${bitmap.fault}`;
  if (!isInSameFile)
    return "it is in another file than at the last snapshot (an external snapshot, a copy, or the file was renamed)";
  if (disk.size < sizeBefore) return "it has become smaller";
  return undefined;
}

function isSameFile(one: bigint, other: bigint): boolean {
  return BigInt.asUintN(32, one) === BigInt.asUintN(32, other);
}
