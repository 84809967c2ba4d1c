/**
 * libsodium, loaded when first wanted: its WASM takes tens of milliseconds that `ashlar --help`
 * should not pay. Only the small build; Argon2id has its own worker (kdf.ts).
 */
import type Sodium from "libsodium-wrappers";

import { assert } from "../errors.ts";

let loaded: typeof Sodium | undefined;
let loading: Promise<void> | undefined;

/** Awaited once (in each thread) before anything of this room that boxes, signs or opens a slot. */
export function loadSodium(): Promise<void> {
  loading ??= load();
  return loading;
}

async function load(): Promise<void> {
  const { default: module } = await import("libsodium-wrappers");
  await module.ready;
  loaded = module;
}

/** @throws {BugError} when nobody awaited `loadSodium()` */
export function sodium(): typeof Sodium {
  assert(loaded !== undefined, "loadSodium() was not awaited");
  return loaded;
}
