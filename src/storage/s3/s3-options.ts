/** What `-o s3.…` sets. */
import { readFile } from "node:fs/promises";
import { FailedError, UsageError } from "../../errors.ts";
import type { StorageEnvironment } from "../backend.ts";

export interface S3Options {
  readonly bucketLookup: "auto" | "dns" | "path";
  readonly region: string | undefined;
  readonly profile: string | undefined;
  /** For packs: what is small or short-lived costs more in the cheaper classes. */
  readonly storageClass: string | undefined;
  readonly encryption: S3Encryption | undefined;
  readonly lock: S3Lock | undefined;
  /** PEM */
  readonly ca: Uint8Array | undefined;
  readonly connectionsMax: number;
  readonly connectTimeoutMs: number;
  /** A connection on which nothing moves for so long is given up. */
  readonly idleTimeoutMs: number;
}

/** By the server, beside ours. */
export type S3Encryption =
  | { readonly mode: "AES256" }
  | { readonly mode: "aws:kms" | "aws:kms:dsse"; readonly keyId: string | undefined }
  /** The server uses this key of 32 bytes and forgets it. */
  | { readonly mode: "customer"; readonly key: Uint8Array };

export interface S3Lock {
  readonly mode: "GOVERNANCE" | "COMPLIANCE";
  readonly days: number;
}

const optionNames = [
  "s3.bucket-lookup",
  "s3.cacert",
  "s3.connect-timeout",
  "s3.connections",
  "s3.object-lock",
  "s3.object-lock-days",
  "s3.profile",
  "s3.region",
  "s3.sse",
  "s3.sse-c-key",
  "s3.sse-kms-key-id",
  "s3.storage-class",
  "s3.timeout",
];

/** Objects in these must be asked for hours ahead. */
const archiveClasses = ["GLACIER", "DEEP_ARCHIVE"];

/** @throws {UsageError} {FailedError} when a file cannot be read */
export async function parseS3Options({ options }: StorageEnvironment): Promise<S3Options> {
  for (const name of Object.keys(options)) {
    if (!name.startsWith("s3.") || optionNames.includes(name)) continue;
    throw new UsageError(`Cannot use option -o ${name}: S3 has none of that name`, {
      hint: `It has ${optionNames.join(", ")}`,
    });
  }
  const storageClass = options["s3.storage-class"]?.toUpperCase();
  if (storageClass !== undefined && archiveClasses.includes(storageClass)) {
    throw new UsageError(
      `Cannot store packs in class ${storageClass}: they could not be read back`,
      {
        hint: "GLACIER_IR is the cheapest class that answers at once",
      },
    );
  }
  return {
    bucketLookup: oneOf(options, "s3.bucket-lookup", ["auto", "dns", "path"]) ?? "auto",
    region: options["s3.region"],
    profile: options["s3.profile"],
    storageClass,
    encryption: await parseEncryption(options),
    lock: parseLock(options),
    ca: await readNamed(options, "s3.cacert"),
    connectionsMax: wholeNumber(options, "s3.connections", 16, 128),
    connectTimeoutMs: wholeNumber(options, "s3.connect-timeout", 30, 3600) * 1000,
    idleTimeoutMs: wholeNumber(options, "s3.timeout", 60, 3600) * 1000,
  };
}

type Options = StorageEnvironment["options"];

async function parseEncryption(options: Options): Promise<S3Encryption | undefined> {
  const mode = oneOf(options, "s3.sse", ["AES256", "aws:kms", "aws:kms:dsse"]);
  const keyId = options["s3.sse-kms-key-id"];
  const keyFile = await readNamed(options, "s3.sse-c-key");
  if (keyId !== undefined && (mode === undefined || mode === "AES256"))
    throw new UsageError("Cannot use s3.sse-kms-key-id without -o s3.sse=aws:kms");
  if (keyFile === undefined) {
    if (mode === undefined) return undefined;
    return mode === "AES256" ? { mode } : { mode, keyId };
  }
  if (mode !== undefined)
    throw new UsageError("Cannot use s3.sse-c-key and s3.sse together: the key is ours or theirs");
  const text = Buffer.from(keyFile).toString("latin1").trim();
  const key =
    keyFile.length === 32
      ? keyFile
      : Buffer.from(text, /^[0-9a-fA-F]{64}$/.test(text) ? "hex" : "base64");
  if (key.length !== 32)
    throw new UsageError("Cannot use the key file of s3.sse-c-key: it does not hold 32 bytes", {
      hint: "Make one: head -c 32 /dev/urandom | base64 > FILE",
    });
  return { mode: "customer", key };
}

function parseLock(options: Options): S3Lock | undefined {
  const mode = oneOf(options, "s3.object-lock", ["governance", "compliance"]);
  if (mode === undefined) {
    if (options["s3.object-lock-days"] === undefined) return undefined;
    throw new UsageError("Cannot use s3.object-lock-days without -o s3.object-lock=governance");
  }
  if (options["s3.object-lock-days"] === undefined)
    throw new UsageError(`Cannot use s3.object-lock=${mode} without -o s3.object-lock-days=N`, {
      hint: "So many days nobody can delete what is stored, you included with compliance",
    });
  return {
    mode: mode === "governance" ? "GOVERNANCE" : "COMPLIANCE",
    days: wholeNumber(options, "s3.object-lock-days", 0, 36_500),
  };
}

function oneOf<T extends string>(
  options: Options,
  name: string,
  values: readonly T[],
): T | undefined {
  const text = options[name];
  if (text === undefined) return undefined;
  const value = values.find((one) => one === text);
  if (value !== undefined) return value;
  throw new UsageError(`Cannot use option -o ${name}=${text}: it is none of ${values.join(", ")}`);
}

function wholeNumber(options: Options, name: string, otherwise: number, max: number): number {
  const text = options[name];
  if (text === undefined) return otherwise;
  const value = Number(text);
  if (Number.isInteger(value) && value >= 1 && value <= max) return value;
  throw new UsageError(`Cannot use option -o ${name}=${text}: not a whole number from 1 to ${max}`);
}

async function readNamed(options: Options, name: string): Promise<Uint8Array | undefined> {
  const path = options[name];
  if (path === undefined) return undefined;
  try {
    return await readFile(path);
  } catch (cause) {
    throw new FailedError(`Cannot read the file that -o ${name} names: ${path}`, { cause });
  }
}
