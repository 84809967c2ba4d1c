/**
 * What the coordinator and its lanes say to each other. Plain data: it crosses threads as it is.
 *
 * One slot of a lane's memory goes through: cut → (answer) → store → stored. Packs are filled beside
 * that: the coordinator sends rooms ahead, a lane sends back what it filled.
 */
import type { BackupKeys, PackSeal } from "../../crypto/index.ts";
import type { ImageCutParams, StreamCutParams } from "../../chunker/index.ts";
import type { IndexedPack } from "../format/index.ts";
import type { KnownBase } from "./choose-form.ts";
import type { CompressionLevel } from "./levels.ts";

export interface LaneConfig {
  readonly keys: Pick<BackupKeys, "dataIdKey" | "treeIdKey" | "cutKey">;
  readonly repoId: Uint8Array;
  readonly image: ImageCutParams;
  readonly stream: StreamCutParams;
  readonly level: CompressionLevel;
  readonly verify: boolean;
  /** Bytes of each slot: an image's segment, or a window of a stream. */
  readonly slotBytes: number;
  readonly slots: number;
  /** Also sample the blocks of images, for likeness. */
  readonly hooks?: boolean;
}

/** By chunk of a slot; absent or empty: there is none. */
export type ChunkBases = readonly (readonly KnownBase[] | undefined)[];

/** Where a part of a slot comes from. */
export type CutSource =
  | {
      readonly fd: number;
      readonly offset: number;
      readonly length: number;
      /** Only these are read, the rest is zero: pairs of offset (from this part's) and length, ascending. */
      readonly extents?: Float64Array;
    }
  | {
      readonly length: number;
      /** Only these are read, the rest is zero: fours of offset (from this part's), length, fd, offset in that file. */
      readonly places: Float64Array;
    }
  | {
      readonly bytes: Uint8Array;
      readonly isEnd: boolean;
      /** How many bytes were read to make these; all unless given. */
      readonly readBytes?: number;
    };

export type Cutter = "image" | "stream";

export type ToLane =
  | {
      readonly type: "cut";
      readonly job: number;
      readonly cutter: Cutter;
      readonly parts: readonly CutSource[];
    }
  /** `wanted` has a 1 for each chunk to store; `bases`, by chunk, what it may be stored against. */
  | {
      readonly type: "store";
      readonly job: number;
      readonly wanted: Uint8Array;
      readonly bases?: ChunkBases;
    }
  /** Memory for one more pack, and its seal. */
  | { readonly type: "room"; readonly seal: PackSeal; readonly memory: Uint8Array }
  /** Close the open pack once all that was asked is stored. */
  | { readonly type: "flush" };

/** Why a part was not read; its other bytes are as if never asked for. */
export interface ReadFault {
  readonly errno: string | undefined;
  readonly message: string;
}

export interface CutPart {
  /** Bytes there were, up to the length asked for; in `image` mode less means that the image shrank. */
  readonly bytes: number;
  /** Bytes that had to be read for it: holes cost none. */
  readonly readBytes: number;
  /** The source ended within this part. */
  readonly isEnd: boolean;
  readonly chunkCount: number;
  readonly fault?: ReadFault;
}

export type FromLane =
  | {
      readonly type: "cut";
      readonly job: number;
      readonly parts: readonly CutPart[];
      /** Of each chunk, parts one after the other. */
      readonly ids: Uint8Array;
      readonly lengths: Uint32Array;
      /** `image` only: chunks and holes as the image map has them. */
      readonly runs: Uint16Array;
      /** `image` only, if asked for: sampled values of blocks, pairs of low and high half. */
      readonly hooks: Uint32Array;
      /** By chunk: where in `hooks` its values end. */
      readonly hookEnds: Uint32Array;
    }
  | { readonly type: "stored"; readonly job: number }
  | {
      readonly type: "pack";
      readonly pack: IndexedPack;
      /** The room's memory again, as far as the pack goes. */
      readonly bytes: Uint8Array;
      readonly plainBytes: number;
      readonly deltaCount: number;
    }
  | { readonly type: "flushed" };
