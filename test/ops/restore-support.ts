/** Disks and comparisons for tests of restores. */
import { createCipheriv, createHash } from "node:crypto";
import { closeSync, ftruncateSync, openSync, readFileSync, statSync, writeSync } from "node:fs";
import { expect } from "vitest";
import { restore, type RestoreHooks, type RestoreOptions } from "../../src/repo/index.ts";
import type { TestPlace } from "../support/test-place.ts";

export const kib = 1024;
export const mib = 1024 * kib;

export interface Part {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

/** Incompressible bytes that follow from `seed`. */
export function noise(seed: string, length: number): Uint8Array {
  const key = createHash("sha256").update(seed).digest();
  return createCipheriv("aes-256-ctr", key, Buffer.alloc(16)).update(Buffer.alloc(length));
}

/** A sparse file with `parts` as its only data. */
export function writeImage(path: string, size: number, parts: readonly Part[]): void {
  const fd = openSync(path, "w", 0o600);
  ftruncateSync(fd, size);
  for (const { offset, bytes } of parts) writeSync(fd, bytes, 0, bytes.length, offset);
  closeSync(fd);
}

/** Writes over a part of a file. */
export function overwriteAt(path: string, { offset, bytes }: Part): void {
  const fd = openSync(path, "r+");
  writeSync(fd, bytes, 0, bytes.length, offset);
  closeSync(fd);
}

export function allocatedBytes(path: string): number {
  return statSync(path).blocks * 512;
}

export function expectSameBytes(actual: string, expected: string): void {
  expect(readFileSync(actual).equals(readFileSync(expected))).toBe(true);
}

/** A restore by a run of its own. */
export async function runRestore(
  place: TestPlace,
  options: RestoreOptions,
  hooks: RestoreHooks = {},
) {
  const warnings: string[] = [];
  const summary = await restore(await place.repository(), options, {
    onWarning: (message) => warnings.push(message),
    ...hooks,
  });
  return { ...summary, warnings };
}
