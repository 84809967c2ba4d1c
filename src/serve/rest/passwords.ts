/** Passwords of hosts: only their scrypt hashes are kept, in a text form that names its own cost. */
import { scrypt, timingSafeEqual } from "node:crypto";

/** 32 MiB and a tenth of a second for each guess (RFC 7914 recommends N = 2^14 and r = 8 for log-ins). */
const cost = { N: 2 ** 15, r: 8, p: 1 } as const;
const hashBytes = 32;
const saltBytes = 16;

const hashForm =
  /^scrypt\$(\d{4,7})\$(\d{1,2})\$(\d{1,2})\$([0-9A-Za-z+/]{22,88}={0,2})\$([0-9A-Za-z+/]{43}=)$/;

export interface PasswordHash {
  readonly N: number;
  readonly r: number;
  readonly p: number;
  readonly salt: Uint8Array;
  readonly hash: Uint8Array;
}

/** @returns `scrypt$N$r$p$salt$hash`, both in base64 */
export async function hashPassword(
  password: string,
  random: (length: number) => Uint8Array,
): Promise<string> {
  const salt = random(saltBytes);
  const hash = await derive(password, { ...cost, salt, hash: new Uint8Array(hashBytes) });
  return `scrypt$${cost.N}$${cost.r}$${cost.p}$${base64(salt)}$${base64(hash)}`;
}

/** Undefined when `text` is no such hash, or asks for more than a log-in may cost. */
export function parsePasswordHash(text: string): PasswordHash | undefined {
  const match = hashForm.exec(text);
  if (match === null) return undefined;
  const [N, r, p] = [Number(match[1]), Number(match[2]), Number(match[3])];
  const isPowerOfTwo = Number.isInteger(Math.log2(N));
  if (!isPowerOfTwo || r === 0 || p === 0 || p > 4 || 128 * N * r > 256 * 1024 * 1024)
    return undefined;
  return {
    N,
    r,
    p,
    salt: Buffer.from(match[4]!, "base64"),
    hash: Buffer.from(match[5]!, "base64"),
  };
}

/** What the password of nobody is compared with, so that an unknown name takes as long as a known one. */
export const nobodysHash: PasswordHash = {
  ...cost,
  salt: new Uint8Array(saltBytes),
  hash: new Uint8Array(hashBytes),
};

export async function isPassword(password: string, stored: PasswordHash): Promise<boolean> {
  return timingSafeEqual(await derive(password, stored), stored.hash);
}

function derive(password: string, { N, r, p, salt, hash }: PasswordHash): Promise<Buffer> {
  const options = { N, r, p, maxmem: 128 * N * r + 128 * r * p + 1024 * 1024 };
  return new Promise((resolve, reject) => {
    scrypt(password.normalize("NFC"), salt, hash.length, options, (error, key) => {
      if (error === null) resolve(key);
      else reject(error);
    });
  });
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("base64");
}
