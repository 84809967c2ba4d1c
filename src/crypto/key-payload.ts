/** What a key slot holds, as JSON: role, keyring, writer, the hash of the config it belongs to. */
import { fromHex, toHex, utf8Bytes } from "../bytes.ts";
import { CorruptionError } from "../errors.ts";
import type { BackupKeys, FullKeys, WriterKeys } from "./keys.ts";

interface PayloadOf<Role extends string, Keys> {
  readonly role: Role;
  /** By generation, 0 first; at least one. */
  readonly keyring: readonly Keys[];
  readonly writer: WriterKeys;
  /** Hex SHA-256 of the config object's bytes: nothing in config is trusted before it matched (R13). */
  readonly configHash: string;
  readonly label: string;
}

export type KeyPayload = PayloadOf<"full", FullKeys> | PayloadOf<"backup", BackupKeys>;

const backupFields = {
  dataIdKey: 32,
  treeIdKey: 32,
  cutKey: 32,
  indexKey: 32,
  sessionKey: 32,
  dataBoxPublic: 32,
  treeBoxPublic: 32,
  adminPublic: 32,
} as const;
const fullFields = {
  ...backupFields,
  dataBoxSecret: 32,
  treeBoxSecret: 32,
  adminSecret: 64,
} as const;

/** A `backup` payload never holds more than `backup` may have, whatever objects it was given. */
export function encodeKeyPayload(payload: KeyPayload): Uint8Array {
  const { role, writer, configHash, label } = payload;
  const keyring =
    payload.role === "full"
      ? payload.keyring.map((keys) => keysToHex(keys, fullFields))
      : payload.keyring.map((keys) => keysToHex(keys, backupFields));
  return utf8Bytes(
    JSON.stringify({
      role,
      keyring,
      writer: {
        writerId: writer.writerId,
        signPublic: toHex(writer.signPublic),
        signSecret: toHex(writer.signSecret),
      },
      configHash,
      label,
    }),
  );
}

/** Fields it does not know are left alone. @throws {CorruptionError} */
export function decodeKeyPayload(bytes: Uint8Array): KeyPayload {
  const json = record(parseJson(bytes));
  const { role, keyring, writer, configHash, label } = json as Partial<Record<string, unknown>>;
  if (!Array.isArray(keyring) || keyring.length === 0) throw malformed("keyring");
  if (typeof label !== "string") throw malformed("label");
  if (typeof configHash !== "string" || !/^[0-9a-f]{64}$/.test(configHash))
    throw malformed("configHash");
  const common = { writer: decodeWriter(writer), configHash, label };
  if (role === "full")
    return {
      role,
      keyring: keyring.map((keys, at) => keysFromHex(keys, at, fullFields)),
      ...common,
    };
  if (role === "backup")
    return {
      role,
      keyring: keyring.map((keys, at) => keysFromHex(keys, at, backupFields)),
      ...common,
    };
  throw malformed("role");
}

type Fields = Readonly<Record<string, number>>;
type KeysOf<F extends Fields> = { generation: number } & { [name in keyof F]: Uint8Array };

function keysToHex<F extends Fields>(keys: KeysOf<F>, fields: F): Record<string, unknown> {
  const hex: Record<string, unknown> = { generation: keys.generation };
  for (const name of Object.keys(fields))
    hex[name] = toHex((keys as Readonly<Record<string, Uint8Array>>)[name]!);
  return hex;
}

function keysFromHex<F extends Fields>(value: unknown, generation: number, fields: F): KeysOf<F> {
  const json = record(value);
  if (json["generation"] !== generation) throw malformed("generation");
  const keys: Record<string, Uint8Array> = {};
  for (const [name, length] of Object.entries(fields)) keys[name] = hexField(json, name, length);
  return { generation, ...keys } as KeysOf<F>;
}

function decodeWriter(value: unknown): WriterKeys {
  const json = record(value);
  return {
    writerId: toHex(hexField(json, "writerId", 16)),
    signPublic: hexField(json, "signPublic", 32),
    signSecret: hexField(json, "signSecret", 64),
  };
}

function hexField(json: Record<string, unknown>, name: string, length: number): Uint8Array {
  const hex = json[name];
  if (typeof hex !== "string" || hex.length !== 2 * length || !/^[0-9a-f]*$/.test(hex))
    throw malformed(name);
  return fromHex(hex);
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw malformed("JSON"); // No cause: its message quotes the text, which is keys.
  }
}

function record(value: unknown): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw malformed("object");
  return value as Record<string, unknown>;
}

function malformed(field: string): CorruptionError {
  return new CorruptionError(`Cannot read key slot: its ${field} is missing or malformed`);
}
