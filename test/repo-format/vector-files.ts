/** Files of test/fixtures/v1: bytes as lines of hexadecimal, decoded values as JSON beside them. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { fromHex, toHex } from "../../src/bytes.ts";

const root = path.join(import.meta.dirname, "../fixtures/v1");

export function readHex(name: string): Uint8Array {
  return fromHex(readFileSync(path.join(root, `${name}.hex`), "latin1").replaceAll("\n", ""));
}

export function hasHex(name: string): boolean {
  return existsSync(path.join(root, `${name}.hex`));
}

export function writeHex(name: string, bytes: Uint8Array): void {
  const lines = toHex(bytes).match(/.{1,64}/g) ?? [];
  write(`${name}.hex`, lines.map((line) => `${line}\n`).join(""));
}

/** Bytes are `{"hex": …}`, 64-bit numbers `{"integer": "…"}`, columns `{"u16"|"u32": […]}`, a hole in a list null. */
export function readValue(name: string): unknown {
  return JSON.parse(readFileSync(path.join(root, `${name}.json`), "utf8"), (_key, value: unknown) =>
    revive(value),
  );
}

export function writeValue(name: string, value: unknown): void {
  const replacer = function (this: Record<string, unknown>, key: string): unknown {
    return plain(this[key]);
  };
  write(`${name}.json`, `${JSON.stringify(value, replacer, 2)}\n`);
}

function write(name: string, text: string): void {
  const file = path.join(root, name);
  mkdirSync(path.dirname(file), { recursive: true });
  writeFileSync(file, text);
}

function plain(value: unknown): unknown {
  if (value instanceof Uint16Array) return { u16: [...value] };
  if (value instanceof Uint32Array) return { u32: [...value] };
  if (value instanceof Uint8Array) return { hex: toHex(value) };
  return typeof value === "bigint" ? { integer: value.toString() } : value;
}

function revive(value: unknown): unknown {
  if (Array.isArray(value)) return value.map((item: unknown) => item ?? undefined);
  if (typeof value !== "object" || value === null) return value;
  const { hex, integer, u16, u32 } = value as Record<string, unknown>;
  if (typeof hex === "string") return fromHex(hex);
  if (typeof integer === "string") return BigInt(integer);
  if (Array.isArray(u16)) return Uint16Array.from(u16 as number[]);
  return Array.isArray(u32) ? Uint32Array.from(u32 as number[]) : value;
}
