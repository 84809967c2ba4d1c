/**
 * The file of users: who may log in to the gateway, to which repositories, and in what role.
 *
 *   {"version": 1, "users": [{"name": "web1", "role": "append", "repositories": ["hosts"],
 *     "password": "scrypt$…", "readData"?: true, "quotaBytes"?: …, "requestsPerSecond"?: …, "bytesPerSecond"?: …}]}
 */
import { readFile } from "node:fs/promises";
import { FailedError } from "../../errors.ts";
import { repositoryPath } from "./paths.ts";
import { parsePasswordHash, type PasswordHash } from "./passwords.ts";
import { replaceFile } from "./replace-file.ts";

export type Role = "append" | "full";

export interface UserRecord {
  readonly name: string;
  readonly role: Role;
  /** Folders below the served one that are repositories; `/` is the served folder itself. */
  readonly repositories: readonly string[];
  /** As passwords.ts writes it. */
  readonly password: string;
  /** An `append` user may read packs as well: to restore by himself, or to use restic. */
  readonly readData?: boolean;
  /** This user puts nothing into a repository that is, or would grow, larger than this. */
  readonly quotaBytes?: number;
  readonly requestsPerSecond?: number;
  readonly bytesPerSecond?: number;
}

export interface User extends Omit<UserRecord, "password"> {
  readonly password: PasswordHash;
}

const userName = /^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$/;

/** @throws {FailedError} */
export async function readUsers(path: string): Promise<ReadonlyMap<string, User>> {
  const records = await readRecords(path);
  if (records === undefined) {
    throw new FailedError(`Cannot read users file ${path}: there is none`, {
      hint: "Make it: ashlar serve rest --users FILE --add-user NAME",
    });
  }
  return new Map(
    records.map((record) => [
      record.name,
      { ...record, password: parsePasswordHash(record.password)! },
    ]),
  );
}

/** Adds the user, or changes the one of this name. @throws {FailedError} */
export async function putUser(path: string, user: UserRecord): Promise<"added" | "changed"> {
  const { record, problem } = checked(user);
  if (record === undefined) throw new FailedError(`Cannot add user ${user.name}: ${problem}`);
  const others = (await readRecords(path)) ?? [];
  const kept = others.filter((other) => other.name !== user.name);
  await writeRecords(path, [...kept, record]);
  return kept.length === others.length ? "added" : "changed";
}

/** @throws {FailedError} when there is no such user */
export async function removeUser(path: string, name: string): Promise<void> {
  const records = (await readRecords(path)) ?? [];
  const kept = records.filter((record) => record.name !== name);
  if (kept.length === records.length)
    throw new FailedError(`Cannot remove user ${name}: ${path} has none of this name`);
  await writeRecords(path, kept);
}

async function writeRecords(path: string, users: readonly UserRecord[]): Promise<void> {
  const sorted = [...users].sort((a, b) => (a.name < b.name ? -1 : 1));
  await replaceFile(path, `${JSON.stringify({ version: 1, users: sorted }, undefined, 2)}\n`);
}

/** Undefined when there is no such file. */
async function readRecords(path: string): Promise<UserRecord[] | undefined> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw new FailedError(`Cannot read users file ${path}: ${messageOf(error)}`, { cause: error });
  }
  const bad = (why: string): FailedError =>
    new FailedError(`Cannot read users file ${path}: ${why}`, {
      hint: "Mend it by hand, or add the users anew with --add-user",
    });
  let file: unknown;
  try {
    file = JSON.parse(text);
  } catch {
    throw bad("it is not JSON"); // Node's message would quote what stands there.
  }
  const { version, users } = asObject(file);
  if (version !== 1 || !Array.isArray(users)) throw bad("it is not of version 1");
  const names = new Set<string>();
  return users.map((value: unknown) => {
    const { record, problem } = checked(asObject(value));
    if (record === undefined) throw bad(problem);
    if (names.has(record.name)) throw bad(`user ${record.name} is there twice`);
    names.add(record.name);
    return record;
  });
}

type Checked =
  | { readonly record: UserRecord; readonly problem?: undefined }
  | { readonly record?: undefined; readonly problem: string };

/** Takes nothing on trust: a typing error must not open more than was meant. */
function checked(fields: Partial<Record<keyof UserRecord, unknown>>): Checked {
  const { name, role, repositories, password, readData, ...rest } = fields;
  if (typeof name !== "string" || !userName.test(name))
    return { problem: "a name is 1 to 64 letters, digits, dots, dashes, underscores or @" };
  if (role !== "append" && role !== "full")
    return { problem: `the role of ${name} is neither append nor full` };
  if (!Array.isArray(repositories) || repositories.length === 0)
    return { problem: `${name} has no repositories` };
  const paths = repositories.map((path: unknown) =>
    typeof path === "string" ? repositoryPath(path) : undefined,
  );
  if (!paths.every((path) => path !== undefined))
    return { problem: `a repository of ${name} is not a plain path such as "hosts" or "a/b"` };
  if (typeof password !== "string" || parsePasswordHash(password) === undefined)
    return { problem: `the password of ${name} is no scrypt hash` };
  if (readData !== undefined && typeof readData !== "boolean")
    return { problem: `readData of ${name} is neither true nor false` };
  const record: UserRecord = {
    name,
    role,
    repositories: paths,
    password,
    ...(readData === true ? { readData } : {}),
  };
  const limits: Record<string, number> = {};
  for (const [key, value] of Object.entries(rest)) {
    if (!["quotaBytes", "requestsPerSecond", "bytesPerSecond"].includes(key))
      return { problem: `${name} has an unknown field ${key}` };
    if (value === undefined) continue;
    if (typeof value !== "number" || !Number.isFinite(value) || value < 0)
      return { problem: `${key} of ${name} is not a number` };
    limits[key] = value;
  }
  return { record: { ...record, ...limits } };
}

function asObject(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
