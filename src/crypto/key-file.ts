import { fromHex, toHex } from "../bytes.ts";
import { CorruptionError } from "../errors.ts";
import type { Random } from "./random.ts";

/** The key of a new key file: 32 bytes, as strong as the keys it wraps, so no Argon2 is needed. */
export function generateKeyFileKey(random: Random): Uint8Array {
  return random.bytes(32);
}

/** The text of a key file; kept readable for its owner only (0600). */
export function encodeKeyFile(key: Uint8Array): string {
  return `ashlar-key-v1 ${toHex(key)}\n`;
}

/** @returns the 32-byte key @throws {CorruptionError} when `text` is no key file */
export function parseKeyFile(text: string): Uint8Array {
  const hex = /^ashlar-key-v1 ([0-9a-f]{64})\r?\n?$/.exec(text)?.[1];
  if (hex === undefined)
    throw new CorruptionError(
      "Cannot read key file: it is not one line of ashlar-key-v1 and a key",
      {
        hint: "Give the file that `ashlar key add --new-key-file` wrote.",
      },
    );
  return fromHex(hex);
}
