/** What the user's options add to requests: encryption by the server, storage class, object lock. */
import type { ObjectKind } from "../storage.ts";
import type { S3Encryption, S3Lock } from "./s3-options.ts";

interface CustomerKeyFields {
  readonly SSECustomerAlgorithm?: "AES256";
  readonly SSECustomerKey?: string;
  readonly SSECustomerKeyMD5?: string;
}

interface PutEncryptionFields extends CustomerKeyFields {
  readonly ServerSideEncryption?: "AES256" | "aws:kms" | "aws:kms:dsse";
  readonly SSEKMSKeyId?: string;
}

/** @param md5  Base64 of a digest */
export function readFields(
  encryption: S3Encryption | undefined,
  md5: (bytes: Uint8Array) => string,
): CustomerKeyFields {
  if (encryption?.mode !== "customer") return {};
  return {
    SSECustomerAlgorithm: "AES256",
    SSECustomerKey: Buffer.from(encryption.key).toString("base64"),
    SSECustomerKeyMD5: md5(encryption.key),
  };
}

export function writeFields(
  encryption: S3Encryption | undefined,
  md5: (bytes: Uint8Array) => string,
): PutEncryptionFields {
  if (encryption === undefined || encryption.mode === "customer")
    return readFields(encryption, md5);
  if (encryption.mode === "AES256") return { ServerSideEncryption: "AES256" };
  const { mode, keyId } = encryption;
  return { ServerSideEncryption: mode, ...(keyId === undefined ? {} : { SSEKMSKeyId: keyId }) };
}

/** Sessions come and go: they are never held. */
export function isHeld(lock: S3Lock | undefined, kind: ObjectKind): lock is S3Lock {
  return lock !== undefined && kind !== "locks";
}

const dayMs = 24 * 3_600_000;

export function retainUntil(lock: S3Lock, nowMs: number): Date {
  return new Date(nowMs + lock.days * dayMs);
}

/** Half of the time is gone: extended at every second prune or so, not at each. */
export function isDueAgain(lock: S3Lock, until: Date | undefined, nowMs: number): boolean {
  return until === undefined || until.getTime() - nowMs < (lock.days * dayMs) / 2;
}
