/**
 * Key slots: each lets one password or key file in, as `full` or as `backup`, and gives its holder a
 * signing key of its own, for which the admin key vouches with a card.
 */
import {
  type BackupKeys,
  calibrateArgon2,
  decodeKeyPayload,
  encodeKeyPayload,
  type FullKeys,
  generateWriterKeys,
  type KeyPayload,
  type NewSlotCredential,
  openSlot,
  parseKeyFile,
  sealSlot,
  type SlotCredential,
  slotKind,
  toBackupKeys,
  type WriterKeys,
} from "../../crypto/index.ts";
import { mapConcurrent } from "../../async.ts";
import { toHex } from "../../bytes.ts";
import { CorruptionError, FailedError, WrongPasswordError } from "../../errors.ts";
import type { Storage } from "../../storage/index.ts";
import { encodeAmendment, encodeCard, type Role } from "../format/index.ts";
import { namesOf, objectsOf } from "./early-listing.ts";
import { LocalHints } from "./local-hints.ts";
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
  readonly label: string;
}

/** Of keys/, with its name. */
export interface KeyObject {
  readonly name: string;
  readonly stored: Uint8Array;
}

export interface KeyInfo {
  /** The writer's id, 32 hexadecimal digits. */
  readonly id: string;
  readonly role: Role;
  readonly label: string;
  readonly created: string;
  /** The one this repository was opened with. */
  readonly current: boolean;
  /** Its slot is gone: it opens nothing, but what it signed is still verified. */
  readonly removed: boolean;
}

/** What is needed to make a slot before there is an open repository. */
export interface SlotContext {
  readonly storage: Storage;
  readonly id: Uint8Array;
  readonly keys: FullKeys;
  readonly configHash: string;
  readonly environment: Environment;
}

const fetchesInFlight = 16;
/** Slots, cards and amendments take hundreds of bytes. */
const keyObjectBytesMax = 1 << 20;
const keyObjectsMost = 100_000;
const calibration = { targetMs: 500, minMemBytes: 64 * 1024 * 1024 };

/** Makes a key slot, and the card that vouches for its signing key. */
export async function addKeySlot(
  context: SlotContext,
  options: {
    readonly role: Role;
    readonly credential: Credential;
    readonly label?: string | undefined;
  },
): Promise<{ readonly slotName: string; readonly writerId: string }> {
  const { environment } = context;
  const writer = generateWriterKeys(environment.random);
  const label = options.label ?? `${environment.user.name}@${environment.hostname}`;
  const slotName = await putSlot(
    context,
    options.credential,
    payloadOf(context, options.role, writer, label),
  );
  await putCard(context, { role: options.role, writer, label, slotName });
  return { slotName, writerId: writer.writerId };
}

/** Key slots, and the cards and amendments beside them. */
export async function readKeyObjects(storage: Storage): Promise<KeyObject[]> {
  const objects: KeyObject[] = [];
  const listed = await objectsOf(storage, "keys");
  if (listed.length > keyObjectsMost)
    throw new CorruptionError(
      `Cannot open repository ${storage.location}: it has ${listed.length} objects in keys/, which no repository has`,
      { hint: "Somebody has put them there: look at the storage" },
    );
  // What is larger is none of ours, and would all be held in memory.
  const small = listed.filter(({ size }) => size <= keyObjectBytesMax);
  const reads = mapConcurrent(small, fetchesInFlight, async ({ name }) => {
    const stored = await storage.get("keys", name);
    return stored === undefined || stored.length > keyObjectBytesMax ? undefined : { name, stored };
  });
  for await (const object of reads) if (object !== undefined) objects.push(object);
  return objects;
}

/** Opens the slot that the credential fits, trying first the one that fitted last on this host. */
export async function findKeySlot(
  storage: Storage,
  objects: readonly KeyObject[],
  repoId: Uint8Array,
  credential: Credential,
  environment: Environment,
): Promise<OpenedKeys> {
  const hints = new LocalHints(environment, toHex(repoId));
  const hinted = await hints.read("key-slot");
  const slotCredential = toSlotCredential(credential);
  const slots = objects.filter(({ stored }) => isSlotFor(stored, credential.kind));
  const damagedSlots = slots.filter(({ name, stored }) => sha256(stored) !== name);
  slots.sort((a, b) => Number(b.name === hinted) - Number(a.name === hinted));
  for (const { name, stored } of slots) {
    const payload = await openSlot(stored, slotCredential, { repoId });
    if (payload === undefined) continue;
    if (name !== hinted) await hints.write("key-slot", name);
    const { keyring, writer, configHash, label } = decodeKeyPayload(payload);
    return { slotName: name, keys: keyring.at(-1)!, writer, configHash, label };
  }
  const what = credential.kind === "password" ? "password" : "key file";
  throw new WrongPasswordError(
    `Cannot open repository ${storage.location}: no key slot opens with this ${what}`,
    {
      hint:
        damagedSlots.length === 0
          ? "Check which password or key file this run was given"
          : `A key slot is damaged (keys/${damagedSlots[0]!.name}): if it was this one's, use another password or key file`,
    },
  );
}

export async function addKey(
  repository: Repository,
  options: {
    readonly role: Role;
    readonly credential: Credential;
    readonly label?: string | undefined;
  },
): Promise<string> {
  return (await addKeySlot(slotContextOf(repository), options)).writerId;
}

/** Every key there is or was, oldest first. */
export async function listKeys(repository: Repository): Promise<KeyInfo[]> {
  const registry = await repository.writerRegistry();
  const objects = await slotNames(repository.storage);
  return registry.cards
    .map((card) => ({
      id: card.writer,
      role: card.role,
      label: card.label,
      created: card.created,
      current: card.writer === repository.writer.writerId,
      removed: card.slot === undefined || !objects.has(card.slot),
    }))
    .sort((a, b) => (a.created < b.created ? -1 : 1));
}

/**
 * Takes a key's slot away, and notes which of its snapshots still count. It revokes nothing that its
 * holder has read or copied before (docs/security.md).
 *
 * @param prefix  of the key's id
 */
export async function removeKey(repository: Repository, prefix: string): Promise<KeyInfo> {
  const context = slotContextOf(repository);
  const keys = await listKeys(repository);
  const key = pickKey(keys, prefix);
  const otherFull = keys.some(
    (other) => other.id !== key.id && other.role === "full" && !other.removed,
  );
  if (key.role === "full" && !otherFull) {
    throw new FailedError(`Cannot remove key ${key.id.slice(0, 8)}: it is the last full key`, {
      hint: "Without a full key nothing can be restored: make another one first (ashlar key add)",
    });
  }
  if (key.current) {
    throw new FailedError(`Cannot remove key ${key.id.slice(0, 8)}: it is the one in use`, {
      hint: "Open the repository with the key that shall stay, and remove this one with it",
    });
  }
  const { snapshots } = await listSnapshots(repository);
  const lastSequence = Math.max(
    0,
    ...snapshots.filter((s) => s.writer === key.id).map((s) => s.sequence),
  );
  const registry = await repository.writerRegistry();
  const number = Math.max(0, ...registry.amendments.map((amendment) => amendment.number)) + 1;
  const time = new Date(repository.environment.clock.now()).toISOString();
  await putRecord(
    repository,
    "amendment",
    encodeAmendment({
      number,
      time,
      change: { type: "writer-removed", writer: key.id, lastSequence },
    }),
  );
  const card = registry.cards.find((known) => known.writer === key.id);
  if (card?.slot !== undefined) await context.storage.delete("keys", card.slot);
  return key;
}

/** Gives the key in use another password or key file; its id and its snapshots stay the same. */
export async function changeCredential(
  repository: Repository,
  credential: Credential,
): Promise<void> {
  const context = slotContextOf(repository);
  const registry = await repository.writerRegistry();
  const card = registry.cards.find((known) => known.writer === repository.writer.writerId);
  const label = card?.label ?? "";
  const slotName = await putSlot(
    context,
    credential,
    payloadOf(context, "full", repository.writer, label),
  );
  await putCard(context, { role: "full", writer: repository.writer, label, slotName });
  await context.storage.delete("keys", repository.slotName);
  if (card !== undefined) await context.storage.delete("keys", card.objectName);
}

function slotContextOf(repository: Repository): SlotContext {
  const { storage, id, fullKeys: keys, configHash, environment } = repository;
  return { storage, id, keys, configHash, environment };
}

function payloadOf(
  context: SlotContext,
  role: Role,
  writer: WriterKeys,
  label: string,
): KeyPayload {
  const { keys, configHash } = context;
  return role === "full"
    ? { role, keyring: [keys], writer, configHash, label }
    : { role, keyring: [toBackupKeys(keys)], writer, configHash, label };
}

async function putSlot(
  context: SlotContext,
  credential: Credential,
  payload: KeyPayload,
): Promise<string> {
  const { storage, id: repoId, keys, environment } = context;
  const stored = await sealSlot(
    encodeKeyPayload(payload),
    await newSlotCredential(credential, environment),
    {
      repoId,
      generation: keys.generation,
      random: environment.random,
    },
  );
  const name = sha256(stored);
  await storage.put("keys", name, [stored]);
  return name;
}

async function putCard(
  context: SlotContext,
  options: {
    readonly role: Role;
    readonly writer: WriterKeys;
    readonly label: string;
    readonly slotName: string;
  },
): Promise<void> {
  const { role, writer, label, slotName } = options;
  const created = new Date(context.environment.clock.now()).toISOString();
  const card = {
    writer: writer.writerId,
    role,
    signPublic: toHex(writer.signPublic),
    label,
    slot: slotName,
    created,
  };
  await putRecord({ ...context, writer }, "card", encodeCard(card));
}

function toSlotCredential(credential: Credential): SlotCredential {
  return credential.kind === "password"
    ? credential
    : { kind: "keyFile", key: keyOfFile(credential.text) };
}

async function newSlotCredential(
  credential: Credential,
  environment: Environment,
): Promise<NewSlotCredential> {
  if (credential.kind === "keyFile") return { kind: "keyFile", key: keyOfFile(credential.text) };
  const { targetMs, minMemBytes } = calibration;
  const cost =
    environment.passwordCost ??
    (await calibrateArgon2(targetMs, minMemBytes, () => environment.clock.elapsed()));
  return { kind: "password", password: credential.password, cost };
}

/** A key file is the user's input, not stored bytes: a wrong one is no damage. */
function keyOfFile(text: string): Uint8Array {
  try {
    return parseKeyFile(text);
  } catch (error) {
    if (!(error instanceof CorruptionError)) throw error;
    throw new FailedError(error.message, {
      hint: "Give the file that init or key add has made",
      cause: error,
    });
  }
}

/** What is no slot, or is damaged, is not for this credential; `check` names what is damaged. */
function isSlotFor(stored: Uint8Array, kind: Credential["kind"]): boolean {
  try {
    return slotKind(stored) === kind;
  } catch (error) {
    if (error instanceof CorruptionError) return false;
    throw error;
  }
}

function pickKey(keys: readonly KeyInfo[], prefix: string): KeyInfo {
  const matches = keys.filter((key) => !key.removed && prefix !== "" && key.id.startsWith(prefix));
  if (matches.length === 1) return matches[0]!;
  throw new FailedError(
    `Cannot remove key ${prefix}: ${matches.length === 0 ? "there is none" : `${matches.length} keys begin so`}`,
    {
      hint: "See: ashlar key list",
    },
  );
}

async function slotNames(storage: Storage): Promise<Set<string>> {
  return new Set(await namesOf(storage, "keys"));
}
