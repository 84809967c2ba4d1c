/**
 * Who is asking: HTTP Basic against the file of users. A right password costs scrypt once and an HMAC
 * from then on; a wrong one costs its sender time, the more of it the more often.
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import { isPassword, nobodysHash } from "./passwords.ts";
import type { Limits } from "./limits.ts";
import type { User } from "./users.ts";

/** Each takes 32 MiB. */
const hashingMax = 2;
const waitingMax = 32;
/** Of one address. */
const guessesMax = 4;
const addressesMax = 10_000;
const forgetFailuresMs = 15 * 60_000;
const headerLengthMax = 2048;

export type Login =
  | { readonly user: User }
  | { readonly user: undefined; readonly why: "absent" | "wrong" | "busy"; readonly name?: string };

export interface LoginSurroundings {
  readonly elapsed: () => number;
  readonly random: (length: number) => Uint8Array;
  readonly sleep: (ms: number) => Promise<void>;
}

export class Logins {
  readonly #limits: Limits;
  readonly #surroundings: LoginSurroundings;
  /** Of this process alone, so that what is remembered of passwords is worth nothing elsewhere. */
  readonly #secret: Uint8Array;
  #users: ReadonlyMap<string, User>;
  /** By user: the HMAC of the password that was right. */
  readonly #known = new Map<string, Buffer>();
  readonly #failures = new Map<string, { count: number; at: number }>();
  readonly #guesses = new Map<string, number>();
  #hashing = 0;
  readonly #waiting: (() => void)[] = [];

  constructor(users: ReadonlyMap<string, User>, limits: Limits, surroundings: LoginSurroundings) {
    this.#users = users;
    this.#limits = limits;
    this.#surroundings = surroundings;
    this.#secret = surroundings.random(32);
  }

  setUsers(users: ReadonlyMap<string, User>): void {
    this.#users = users;
    this.#known.clear();
  }

  /** @param address  of the other end: guesses are counted by it */
  async check(header: string | undefined, address: string): Promise<Login> {
    const given = parseBasic(header);
    if (given === undefined) return { user: undefined, why: "absent" };
    const { name, password } = given;
    const user = this.#users.get(name);
    const mac = createHmac("sha256", this.#secret).update(`${name}\0${password}`).digest();
    const known = this.#known.get(name);
    if (user !== undefined && known !== undefined && timingSafeEqual(known, mac)) return { user };

    const guesses = this.#guesses.get(address) ?? 0;
    if (guesses >= guessesMax || this.#waiting.length >= waitingMax)
      return { user: undefined, why: "busy", name };
    this.#guesses.set(address, guesses + 1);
    try {
      const isRight = await this.#compare(password, user);
      // The users may have been read anew meanwhile.
      if (isRight && user !== undefined && this.#users.get(name) === user) {
        this.#known.set(name, mac);
        return { user };
      }
      await this.#surroundings.sleep(this.#noteFailure(address));
      return { user: undefined, why: "wrong", name };
    } finally {
      const left = (this.#guesses.get(address) ?? 1) - 1;
      if (left === 0) this.#guesses.delete(address);
      else this.#guesses.set(address, left);
    }
  }

  async #compare(password: string, user: User | undefined): Promise<boolean> {
    if (this.#hashing >= hashingMax) {
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    } else this.#hashing++;
    try {
      return await isPassword(password, user?.password ?? nobodysHash);
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#hashing--;
      else next();
    }
  }

  /** @returns how long this answer has to wait */
  #noteFailure(address: string): number {
    const now = this.#surroundings.elapsed();
    const before = this.#failures.get(address);
    const isFresh = before !== undefined && now - before.at < forgetFailuresMs;
    const count = isFresh ? before.count + 1 : 1;
    this.#failures.delete(address); // The one that failed longest ago stays first.
    this.#failures.set(address, { count, at: now });
    if (this.#failures.size > addressesMax) {
      const oldest = this.#failures.keys().next();
      if (oldest.done !== true) this.#failures.delete(oldest.value);
    }
    const { wrongPasswordMs, wrongPasswordMsMax } = this.#limits;
    return Math.min(wrongPasswordMsMax, wrongPasswordMs * 2 ** Math.min(count - 1, 20));
  }
}

function parseBasic(header: string | undefined): { name: string; password: string } | undefined {
  if (header === undefined || header.length > headerLengthMax) return undefined;
  const match = /^Basic ([A-Za-z0-9+/]+={0,2})$/i.exec(header);
  if (match === null) return undefined;
  const text = Buffer.from(match[1]!, "base64").toString("utf8");
  const colon = text.indexOf(":");
  return colon === -1 ? undefined : { name: text.slice(0, colon), password: text.slice(colon + 1) };
}
