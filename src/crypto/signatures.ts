/**
 * Signed content, so that whoever wrote an object can be named (R14):
 *
 *     writer id 16 ‖ Ed25519 signature 64 ‖ body
 *
 * The signature is over "ashlar 2026 v1 signed" ‖ repository id ‖ kind ‖ SHA-512(body).
 */
import { createHash } from "node:crypto";

import { concatBytes, fromHex, toHex, utf8Bytes } from "../bytes.ts";
import { assert, CorruptionError } from "../errors.ts";
import type { WriterKeys } from "./keys.ts";
import { objectKind, type ObjectKindName } from "./kinds.ts";
import { sodium } from "./sodium.ts";

const writerIdBytes = 16;
const signatureBytes = 64;

export interface SignedContent {
  /** Who claims to have written it: nothing is proven before `verifySigned`. */
  readonly writerId: string;
  readonly signature: Uint8Array;
  readonly body: Uint8Array;
}

/** Needs `loadSodium()`. @returns the content to seal */
export function signContent(
  kind: ObjectKindName,
  body: Uint8Array,
  writer: Pick<WriterKeys, "writerId" | "signSecret">,
  repoId: Uint8Array,
): Uint8Array {
  const id = fromHex(writer.writerId);
  assert(id.length === writerIdBytes, "a writer id is 16 bytes");
  const message = signedMessage(kind, body, repoId);
  return concatBytes([id, sodium().crypto_sign_detached(message, writer.signSecret), body]);
}

/** Takes signed content apart, unverified; the arrays are views. @throws {CorruptionError} */
export function openSigned(content: Uint8Array): SignedContent {
  if (content.length < writerIdBytes + signatureBytes)
    throw new CorruptionError("Cannot read signed object: it is shorter than a signature");
  return {
    writerId: toHex(content.subarray(0, writerIdBytes)),
    signature: content.subarray(writerIdBytes, writerIdBytes + signatureBytes),
    body: content.subarray(writerIdBytes + signatureBytes),
  };
}

/** Needs `loadSodium()`. @returns the body @throws {CorruptionError} when the signature is not `publicKey`'s */
export function verifySigned(
  kind: ObjectKindName,
  content: Uint8Array,
  publicKey: Uint8Array,
  repoId: Uint8Array,
): Uint8Array {
  assert(publicKey.length === 32, "a signing key is 32 bytes");
  const { writerId, signature, body } = openSigned(content);
  if (
    !sodium().crypto_sign_verify_detached(signature, signedMessage(kind, body, repoId), publicKey)
  )
    throw new CorruptionError(`Cannot trust ${kind} object: not signed by writer ${writerId}`);
  return body;
}

function signedMessage(kind: ObjectKindName, body: Uint8Array, repoId: Uint8Array): Uint8Array {
  assert(repoId.length === 16, "a repository id is 16 bytes");
  return concatBytes([
    utf8Bytes("ashlar 2026 v1 signed"),
    repoId,
    Uint8Array.of(objectKind[kind]),
    createHash("sha512").update(body).digest(),
  ]);
}
