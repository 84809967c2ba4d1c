/** Files of keys that both sides of a TLS connection have: lines of NAME:HEX, as psktool writes them. */
import { readFile } from "node:fs/promises";
import { FailedError } from "../errors.ts";

export interface NamedPsk {
  readonly identity: string;
  readonly psk: Buffer;
}

/** @throws {FailedError} when it has none */
export async function readPskFile(path: string): Promise<NamedPsk[]> {
  const keys: NamedPsk[] = [];
  for (const line of (await readFile(path, "utf8")).split("\n")) {
    const [, identity, hex] = /^([^:#]+):((?:[0-9a-f]{2})+)\s*$/i.exec(line) ?? [];
    if (identity !== undefined && hex !== undefined)
      keys.push({ identity, psk: Buffer.from(hex, "hex") });
  }
  if (keys.length === 0) throw new FailedError(`${path} has no key: lines are NAME:HEX`);
  return keys;
}
