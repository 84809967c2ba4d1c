/** Names of users and groups, as the system's name service knows them; without it, as /etc says. */
import { readFileSync } from "node:fs";
import { constants } from "node:os";

import { cString } from "./c-string.ts";
import { hasCall, pointedString, tryCall } from "./libc.ts";

/** What one look-up may need at most: a group with very many members. */
const recordBytesMax = 1 << 24;
/** `struct passwd` has 48 bytes, `struct group` 32; both begin with the name, and hold the number at 16. */
const structBytes = 64;
const numberAt = 16;

interface Owner {
  readonly name: string;
  readonly number: number;
}
type Call = "getpwuid_r" | "getgrgid_r" | "getpwnam_r" | "getgrnam_r";

const names = { user: new Map<number, string>(), group: new Map<number, string>() };
const numbers = {
  user: new Map<string, number | undefined>(),
  group: new Map<string, number | undefined>(),
};

/** Empty when the system knows no name. */
export function userName(uid: number): string {
  return nameOf("user", uid);
}

/** Empty when the system knows no name. */
export function groupName(gid: number): string {
  return nameOf("group", gid);
}

/** The uid of a user of this system. */
export function userId(name: string): number | undefined {
  return numberOf("user", name);
}

/** The gid of a group of this system. */
export function groupId(name: string): number | undefined {
  return numberOf("group", name);
}

function nameOf(kind: "user" | "group", number: number): string {
  const cache = names[kind];
  let name = cache.get(number);
  if (name === undefined) {
    name = find(kind, kind === "user" ? "getpwuid_r" : "getgrgid_r", number)?.name ?? "";
    cache.set(number, name);
  }
  return name;
}

function numberOf(kind: "user" | "group", name: string): number | undefined {
  const cache = numbers[kind];
  if (!cache.has(name)) {
    cache.set(name, find(kind, kind === "user" ? "getpwnam_r" : "getgrnam_r", name)?.number);
  }
  return cache.get(name);
}

function find(kind: "user" | "group", call: Call, key: number | string): Owner | undefined {
  if (!hasCall(call)) return findInEtc(kind, key);
  const record = Buffer.allocUnsafeSlow(structBytes);
  const result = new BigUint64Array(1);
  const argument = typeof key === "string" ? cString(key, call) : key;
  for (let bytes = 4096; bytes <= recordBytesMax; bytes *= 4) {
    const text = Buffer.allocUnsafeSlow(bytes);
    const errno = tryCall(call, argument, record, text, bytes, result);
    if (errno === constants.errno.ERANGE) continue;
    // Errors mean the same here as an unknown name: the number alone is kept.
    if (errno !== 0 || result[0] === 0n) return undefined;
    return { name: pointedString(record), number: new Uint32Array(record.buffer, numberAt, 1)[0]! };
  }
  return undefined;
}

function findInEtc(kind: "user" | "group", key: number | string): Owner | undefined {
  const file = kind === "user" ? "/etc/passwd" : "/etc/group";
  for (const line of readFileSync(file, "utf8").split("\n")) {
    const [name = "", , number = ""] = line.split(":");
    if (number !== "" && (name === key || Number(number) === key))
      return { name, number: Number(number) };
  }
  return undefined;
}
