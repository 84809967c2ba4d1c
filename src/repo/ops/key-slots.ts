/**
 * Key slots: each lets one password or key file in, as `full` or as `backup`, and gives its holder a
 * signing key of its own, for which the admin key vouches with a card.
 */
import {
  type Argon2Params,
  type BackupKeys,
  calibrateArgon2,
  decodeKeyPayload,
  encodeKeyPayload,
  type FullKeys,
  generateWriterKeys,
  openSlot,
  parseKeyFile,
  sealSlot,
  type SlotCredential,
  slotKind,
  toBackupKeys,
  type WriterKeys,
} from "../../crypto/index.ts";
import { toHex } from "../../bytes.ts";
import { FailedError, UsageError, WrongPasswordError } from "../../errors.ts";
import type { Storage } from "../../storage/index.ts";
import { encodeAmendment, encodeCard, type Role } from "../format/index.ts";
import type { Environment } from "./environment.ts";
import type { Repository } from "./repository.ts";
import { putRecord, sha256 } from "./sealed-records.ts";
import { listSnapshots } from "./snapshots.ts";

/** What a user has: a password, or the text of a key file. */
export type Credential =
  | { readonly kind: "password"; readonly password: Uint8Array }
  | { readonly kind: "keyFile"; readonly text: string };

/** What a key slot gives. */
export interface OpenedKeys {
  readonly slotName: string;
  readonly keys: BackupKeys | FullKeys;
  readonly writer: WriterKeys;
  readonly configHash: string;
}

const calibration = { targetMs: 500, minMemBytes: 64 * 1024 * 1024 };
