/**
 * The long-lived keys of a repository, and who holds which (R12): a `backup` slot holds what adds
 * backups, a `full` slot also what reads them and what may order deletions.
 */
import { toHex } from "../bytes.ts";
import { deriveKey } from "./blake3.ts";
import type { Random } from "./random.ts";
import { sodium } from "./sodium.ts";

/** What role `backup` holds, of one key generation. Each key is 32 bytes. */
export interface BackupKeys {
  readonly generation: number;
  readonly dataIdKey: Uint8Array;
  readonly treeIdKey: Uint8Array;
  /** Decides where images are cut. */
  readonly cutKey: Uint8Array;
  readonly indexKey: Uint8Array;
  readonly sessionKey: Uint8Array;
  readonly dataBoxPublic: Uint8Array;
  readonly treeBoxPublic: Uint8Array;
  readonly adminPublic: Uint8Array;
}

/** What role `full` holds: also opens packs and snapshots, and signs marks and forget records. */
export interface FullKeys extends BackupKeys {
  readonly dataBoxSecret: Uint8Array;
  readonly treeBoxSecret: Uint8Array;
  /** 64 bytes, as libsodium keeps an Ed25519 secret (seed, then public half). */
  readonly adminSecret: Uint8Array;
}

/** Who signs: one pair a key slot. */
export interface WriterKeys {
  /** 32 hexadecimal digits. */
  readonly writerId: string;
  readonly signPublic: Uint8Array;
  /** 64 bytes. */
  readonly signSecret: Uint8Array;
}

/** The admin key signs under this id. */
export const adminWriterId = "0".repeat(32);

/** Needs `loadSodium()`. Draws eight times from `random`, in the order of the fields. */
export function generateFullKeys(random: Random, generation = 0): FullKeys {
  const symmetric = {
    dataIdKey: random.bytes(32),
    treeIdKey: random.bytes(32),
    cutKey: random.bytes(32),
    indexKey: random.bytes(32),
    sessionKey: random.bytes(32),
  };
  const dataBox = fromSeed(random, (seed) => sodium().crypto_box_seed_keypair(seed));
  const treeBox = fromSeed(random, (seed) => sodium().crypto_box_seed_keypair(seed));
  const admin = fromSeed(random, (seed) => sodium().crypto_sign_seed_keypair(seed));
  return {
    generation,
    ...symmetric,
    dataBoxPublic: dataBox.publicKey,
    treeBoxPublic: treeBox.publicKey,
    adminPublic: admin.publicKey,
    dataBoxSecret: dataBox.privateKey,
    treeBoxSecret: treeBox.privateKey,
    adminSecret: admin.privateKey,
  };
}

/** Needs `loadSodium()`. */
export function generateWriterKeys(random: Random): WriterKeys {
  const writerId = toHex(random.bytes(16));
  const pair = fromSeed(random, (seed) => sodium().crypto_sign_seed_keypair(seed));
  return { writerId, signPublic: pair.publicKey, signSecret: pair.privateKey };
}

/** What may be given to a host that only adds backups. Shares the arrays of `full`. */
export function toBackupKeys(full: BackupKeys): BackupKeys {
  const { generation, dataIdKey, treeIdKey, cutKey, indexKey, sessionKey } = full;
  const { dataBoxPublic, treeBoxPublic, adminPublic } = full;
  return {
    generation,
    dataIdKey,
    treeIdKey,
    cutKey,
    indexKey,
    sessionKey,
    dataBoxPublic,
    treeBoxPublic,
    adminPublic,
  };
}

/** The key of one writer's local caches: nobody else need ever open them. */
export function localCacheKey(writer: Pick<WriterKeys, "signSecret">): Uint8Array {
  return deriveKey("ashlar 2026 v1 local cache", writer.signSecret);
}

/** Overwrites secrets with zeros. What the engine copied before (when it moved memory) stays. */
export function wipe(...arrays: readonly Uint8Array[]): void {
  for (const array of arrays) array.fill(0);
}

function fromSeed<Pair>(random: Random, make: (seed: Uint8Array) => Pair): Pair {
  const seed = random.bytes(32);
  const pair = make(seed);
  wipe(seed);
  return pair;
}
