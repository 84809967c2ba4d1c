import { randomBytes } from "node:crypto";

/** Where random bytes come from; passed in, so that tests can write golden bytes. */
export interface Random {
  /** `length` fresh bytes that the caller owns (and may wipe or transfer). */
  bytes(length: number): Uint8Array;
}

/** The system's generator. The only place in the program that draws randomness. */
export const systemRandom: Random = {
  bytes(length) {
    // Copied out of Buffer's shared pool: wiping or transferring it then touches nobody else's bytes.
    return new Uint8Array(randomBytes(length));
  },
};
