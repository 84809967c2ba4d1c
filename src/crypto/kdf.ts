/**
 * Argon2id by libsodium's large build, in a worker thread that ends after each derivation: WASM
 * memory once grown is never given back, and a backup should not hold 256 MiB for its first second.
 *
 * The worker's few lines are a string: Node 20 cannot load a .ts worker, and a worker that must be
 * compiled first would make the tests depend on dist. The package is resolved here, from this file,
 * so that the string works from any working directory and in a global installation.
 */
import { createRequire } from "node:module";
import { Worker } from "node:worker_threads";

import { assert, CorruptionError, FailedError } from "../errors.ts";
import { wipe } from "./keys.ts";

/** Cost of a password's derivation. */
export interface Argon2Params {
  /** Passes over the memory. */
  readonly opsLimit: number;
  readonly memLimitBytes: number;
  /** 16 bytes. */
  readonly salt: Uint8Array;
}

export type Argon2Cost = Omit<Argon2Params, "salt">;

const MiB = 1024 * 1024;
/** What a slot may ask for: one that says more is hostile or broken, and is not tried. */
export const argon2Bounds = {
  opsMin: 1,
  opsMax: 16,
  memMinBytes: 8 * MiB,
  memMaxBytes: 2048 * MiB,
} as const;

/** @throws {CorruptionError} outside the bounds: nothing is allocated before this was asked */
export function checkArgon2Cost({ opsLimit, memLimitBytes }: Argon2Cost): void {
  const { opsMin, opsMax, memMinBytes, memMaxBytes } = argon2Bounds;
  if (opsLimit < opsMin || opsLimit > opsMax)
    throw new CorruptionError(`Cannot open key slot: Argon2 asks for ${opsLimit} passes`);
  if (memLimitBytes < memMinBytes || memLimitBytes > memMaxBytes)
    throw new CorruptionError(`Cannot open key slot: Argon2 asks for ${memLimitBytes} bytes`);
}

const workerSource = `
const { parentPort, workerData } = require("node:worker_threads");
const sodium = require(workerData.module);
sodium.ready.then(() => {
  const { password, opsLimit, memLimitBytes, salt } = workerData;
  const key = sodium.crypto_pwhash(
    32, password, salt, opsLimit, memLimitBytes, sodium.crypto_pwhash_ALG_ARGON2ID13);
  password.fill(0);
  parentPort.postMessage(new Uint8Array(key));
});
`;

/**
 * The 32-byte key of a password. Takes as long as `params` say, on another thread.
 *
 * @param password UTF-8; not changed, the caller wipes it
 * @throws {FailedError} when this machine has not the memory
 */
export async function deriveFromPassword(
  password: Uint8Array,
  params: Argon2Params,
): Promise<Uint8Array> {
  checkArgon2Cost(params);
  assert(params.salt.length === 16, "an Argon2 salt is 16 bytes");
  const copy = Uint8Array.from(password);
  const worker = new Worker(workerSource, {
    eval: true,
    execArgv: [],
    workerData: {
      module: createRequire(import.meta.url).resolve("libsodium-wrappers-sumo"),
      password: copy,
      opsLimit: params.opsLimit,
      memLimitBytes: params.memLimitBytes,
      salt: Uint8Array.from(params.salt),
    },
  });
  wipe(copy); // workerData was cloned when the worker was made.
  try {
    return await firstMessage(worker);
  } catch (cause) {
    const mebibytes = Math.ceil(params.memLimitBytes / MiB);
    throw new FailedError(
      `Cannot derive key from password: Argon2id with ${mebibytes} MiB failed`,
      {
        cause,
        hint: "The machine may be short of memory; a key file needs none.",
      },
    );
  } finally {
    await worker.terminate();
  }
}

function firstMessage(worker: Worker): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    worker.once("message", resolve);
    worker.once("error", reject);
    worker.once("exit", (code) => {
      reject(new Error(`the worker ended with ${code}`));
    });
  });
}

/** Milliseconds, from any start. */
export type Clock = () => number;

const calibrationOps = 3;
const calibrationMaxBytes = 256 * MiB;

/**
 * What one derivation may cost here so that it takes about `targetMs`: memory first, as an attacker
 * pays most for that, up to 256 MiB so that a small host can open the slot too, then passes.
 *
 * Never below 3 passes over `minMemBytes`.
 *
 * @see RFC 9106, section 4: t = 3 with 64 MiB is its recommendation for small memory
 */
export async function calibrateArgon2(
  targetMs: number,
  minMemBytes: number,
  clock: Clock,
): Promise<Argon2Cost> {
  const startMs = await timeDerivation({ opsLimit: 1, memLimitBytes: 8 * MiB }, clock);
  const tried = { opsLimit: calibrationOps, memLimitBytes: minMemBytes };
  const triedMs = Math.max(1, (await timeDerivation(tried, clock)) - startMs);
  return scaleArgon2(tried, triedMs, targetMs);
}

/** Time grows with memory times passes. */
export function scaleArgon2(tried: Argon2Cost, triedMs: number, targetMs: number): Argon2Cost {
  const factor = Math.max(1, targetMs / triedMs);
  const wanted = tried.memLimitBytes * factor;
  const most = Math.max(calibrationMaxBytes, tried.memLimitBytes);
  const memLimitBytes = Math.min(most, Math.floor(wanted / MiB) * MiB);
  const opsWanted = Math.floor((tried.opsLimit * wanted) / memLimitBytes);
  const opsLimit = Math.max(tried.opsLimit, Math.min(argon2Bounds.opsMax, opsWanted));
  return { opsLimit, memLimitBytes: Math.max(tried.memLimitBytes, memLimitBytes) };
}

async function timeDerivation(cost: Argon2Cost, clock: Clock): Promise<number> {
  const begin = clock();
  await deriveFromPassword(new Uint8Array(8), { ...cost, salt: new Uint8Array(16) });
  return clock() - begin;
}
