/**
 * Small signed objects, in and out of storage: sessions, marks, verdicts, censuses, forget records,
 * cards, amendments, snapshots. One place knows who signs a kind, which key seals it and which folder
 * holds it (the table of docs/format.md).
 */
import { createHash } from "node:crypto";
import {
  adminWriterId,
  type BackupKeys,
  type BoxOpenKey,
  type BoxSealKey,
  type FullKeys,
  type ObjectKindName,
  openObject,
  type Random,
  type SaltKey,
  sealObject,
  signContent,
  type WriterKeys,
} from "../../crypto/index.ts";
import { FailedError } from "../../errors.ts";
import type { ObjectKind, Storage } from "../../storage/index.ts";

/** Enough of a stored object to tell its kind by. */
export const openingPrefixBytes = 256;

export type RecordKind =
  "session" | "mark" | "verdict" | "census" | "forget" | "card" | "amendment" | "snapshot";

const folders: Readonly<Record<RecordKind, ObjectKind>> = {
  session: "locks",
  mark: "index",
  verdict: "index",
  census: "index",
  forget: "index",
  card: "keys",
  amendment: "keys",
  snapshot: "snapshots",
};

/** Kinds that only a full key may sign. */
const adminKinds: ReadonlySet<string> = new Set<RecordKind>([
  "mark",
  "verdict",
  "census",
  "forget",
  "card",
  "amendment",
]);

export function isAdminKind(kind: ObjectKindName): boolean {
  return adminKinds.has(kind);
}

export function isFull(keys: BackupKeys | FullKeys): keys is FullKeys {
  return "adminSecret" in keys;
}

/** What sealing and signing need; a Repository is one. */
export interface SealingContext {
  readonly storage: Storage;
  readonly id: Uint8Array;
  readonly keys: BackupKeys | FullKeys;
  readonly writer: WriterKeys;
  readonly environment: { readonly random: Random };
}

/** A backup key has no secret half for snapshots: it can seal them, and not open one again. */
export function sealingKey(kind: RecordKind | "settings", keys: BackupKeys): SaltKey | BoxSealKey {
  return kind === "snapshot"
    ? { algorithm: "box", publicKey: keys.treeBoxPublic }
    : { algorithm: "salt", key: keys.sessionKey };
}

/** @throws {FailedError} for a snapshot with a backup key */
export function openingKey(
  kind: RecordKind | "settings",
  keys: BackupKeys | FullKeys,
): SaltKey | BoxOpenKey {
  if (kind !== "snapshot") return { algorithm: "salt", key: keys.sessionKey };
  if (!isFull(keys)) throw needsFullKey("Cannot read snapshots");
  return { algorithm: "box", publicKey: keys.treeBoxPublic, secretKey: keys.treeBoxSecret };
}

export function needsFullKey(what: string): FailedError {
  return new FailedError(`${what}: a backup key can only add backups`, {
    hint: "Use a full key: another password or --key-file",
  });
}

/** Signs, seals and puts. @returns the object's name */
export async function putRecord(
  context: SealingContext,
  kind: RecordKind,
  body: Uint8Array,
): Promise<string> {
  const stored = sealRecord(context, kind, body);
  const name = sha256(stored);
  await context.storage.put(folders[kind], name, [stored]);
  return name;
}

export function sealRecord(
  context: SealingContext,
  kind: RecordKind,
  body: Uint8Array,
): Uint8Array {
  const { keys, id: repoId } = context;
  const signer = isAdminKind(kind)
    ? { writerId: adminWriterId, signSecret: adminSecret(keys, kind) }
    : context.writer;
  return sealObject(kind, signContent(kind, body, signer, repoId), sealingKey(kind, keys), {
    repoId,
    generation: keys.generation,
    random: context.environment.random,
  });
}

/** The signed content of a stored record, for `WriterRegistry.verify`. @throws {CorruptionError} */
export function openRecord(
  context: Pick<SealingContext, "keys" | "id">,
  kind: RecordKind,
  stored: Uint8Array,
): Uint8Array {
  return openObject(kind, stored, openingKey(kind, context.keys), { repoId: context.id });
}

export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

function adminSecret(keys: BackupKeys | FullKeys, kind: string): Uint8Array {
  if (isFull(keys)) return keys.adminSecret;
  throw needsFullKey(`Cannot write a ${kind}`);
}
