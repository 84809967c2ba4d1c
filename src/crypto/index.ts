/**
 * Keys, ids, sealing: how everything stored is made unreadable and unforgeable.
 *
 * Pure but for the worker that derives keys from passwords: randomness and clocks are passed in, and
 * `systemRandom` is the one source of the former. What boxes, signs or wraps needs `loadSodium()`
 * awaited first. docs/decisions/0003-crypto.md has the reasons, docs/security.md what it is worth.
 */
export { createIdHasher, type IdHasher } from "./ids.ts";
export {
  argon2Bounds,
  calibrateArgon2,
  type Argon2Cost,
  type Argon2Params,
  type Clock,
} from "./kdf.ts";
export { encodeKeyFile, generateKeyFileKey, parseKeyFile } from "./key-file.ts";
export { decodeKeyPayload, encodeKeyPayload, type KeyPayload } from "./key-payload.ts";
export {
  openSlot,
  sealSlot,
  slotKind,
  type NewSlotCredential,
  type SlotCredential,
} from "./key-slot.ts";
export {
  adminWriterId,
  generateFullKeys,
  generateWriterKeys,
  localCacheKey,
  toBackupKeys,
  wipe,
  type BackupKeys,
  type FullKeys,
  type WriterKeys,
} from "./keys.ts";
export { objectKind, type BlobClass, type ObjectKindName } from "./kinds.ts";
export {
  newPackSeal,
  openPackHeader,
  PackOpener,
  PackSealer,
  packTrailerBytes,
  type BlobPosition,
  type PackSeal,
  type PackTrailer,
} from "./pack-seal.ts";
export { systemRandom, type Random } from "./random.ts";
export {
  isSealedToBox,
  objectIsKind,
  openObject,
  sealObject,
  type BoxOpenKey,
  type BoxSealKey,
  type ObjectKey,
  type OpenContext,
  type SaltKey,
  type SealContext,
} from "./sealed-object.ts";
export { openSigned, signContent, verifySigned, type SignedContent } from "./signatures.ts";
export { loadSodium } from "./sodium.ts";
