/**
 * Small signed objects, in and out of storage: sessions, marks, verdicts, censuses, forget records,
 * cards, amendments, snapshots. One place knows who signs a kind, which key seals it and which folder
 * holds it (the table of docs/format.md).
 */
import { createHash } from "node:crypto";
import {
  type BackupKeys,
  type FullKeys,
  type ObjectKindName,
  openObject,
  type ObjectKey,
  type Random,
  sealObject,
  signContent,
  type WriterKeys,
} from "../../crypto/index.ts";
import { FailedError } from "../../errors.ts";
import type { ObjectKind, Storage } from "../../storage/index.ts";

/** Enough of a stored object to tell its kind by. */
export const openingPrefixBytes = 256;

/** What the admin key signs carries this in place of a writer's id. */
export const adminWriterId = "0".repeat(32);

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

/** The key that opens a kind; a backup key has no secret half for snapshots, and can only seal them. */
export function recordKey(kind: RecordKind | "settings", keys: BackupKeys | FullKeys): ObjectKey {
  if (kind !== "snapshot") return { algorithm: "salt", key: keys.sessionKey };
  return isFull(keys)
    ? { algorithm: "box", publicKey: keys.treeBoxPublic, secretKey: keys.treeBoxSecret }
    : { algorithm: "box", publicKey: keys.treeBoxPublic };
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
  return sealObject(kind, signContent(kind, body, signer, repoId), recordKey(kind, keys), {
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
  return openObject(kind, stored, recordKey(kind, context.keys), { repoId: context.id });
}

export function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

function adminSecret(keys: BackupKeys | FullKeys, kind: string): Uint8Array {
  if (isFull(keys)) return keys.adminSecret;
  throw new FailedError(`Cannot write a ${kind}: a backup key can only add backups`, {
    hint: "Use a full key",
  });
}
