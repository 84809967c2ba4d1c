/** What a reader and its lanes say to each other. Plain data; sealed bytes lie in shared memory. */
import type { BackupKeys, BlobClass } from "../../crypto/index.ts";
import type { ReadFault } from "./lane-messages.ts";

export interface RestoreLaneConfig {
  readonly keys: Pick<BackupKeys, "dataIdKey" | "treeIdKey">;
  readonly repoId: Uint8Array;
}

/** Columns of the blobs of one job; bases come before what needs them. */
export interface OpenColumns {
  /** Which of the job's packs. */
  readonly packs: Uint16Array;
  /** Where the sealed bytes lie in the job's memory. */
  readonly starts: Uint32Array;
  readonly sealedLengths: Uint32Array;
  readonly plainLengths: Uint32Array;
  readonly ordinals: Uint16Array;
  readonly forms: Uint8Array;
  readonly ids: Uint8Array;
  /** 1: a later blob of this job needs it as a base. */
  readonly isBase: Uint8Array;
  /** Targets of blob n are those from `targetStarts[n]` up to `targetStarts[n + 1]`. */
  readonly targetStarts: Uint32Array;
  readonly targetFds: Int32Array;
  readonly targetOffsets: Float64Array;
}

export interface OpenPack {
  readonly cls: BlobClass;
  readonly secret: Uint8Array;
}

export type ToRestoreLane =
  | {
      readonly type: "open";
      readonly job: number;
      readonly memory: Uint8Array;
      readonly packs: readonly OpenPack[];
      readonly columns: OpenColumns;
    }
  | {
      readonly type: "verify";
      readonly job: number;
      readonly fd: number;
      readonly offsets: Float64Array;
      readonly lengths: Uint32Array;
      readonly ids: Uint8Array;
    };

export interface BlobFault {
  /** Its row in the columns. */
  readonly row: number;
  readonly message: string;
}

export type FromRestoreLane =
  | {
      readonly type: "opened";
      readonly job: number;
      /** Blobs that are damaged as they lie here; nothing of them was written. */
      readonly faults: readonly BlobFault[];
      /** The target refused: the job stopped there. */
      readonly writeFault: ReadFault | undefined;
    }
  | {
      readonly type: "verified";
      readonly job: number;
      /** 1 where the range holds the content of that id. */
      readonly equal: Uint8Array;
    };
