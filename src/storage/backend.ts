/** What each kind of storage offers to location.ts: how a location that names it is opened. */
import type { Storage } from "./storage.ts";

/** The surroundings a backend needs; nothing reads the process behind its back. */
export interface StorageEnvironment {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  /** From 0 to below 1: jitter. */
  readonly random: () => number;
  /** For this host's eyes: retries, a server that lacks something. Never holds a secret. */
  readonly warn: (message: string) => void;
  /** `-o KEY=VALUE`, by key, such as `sftp.connections`. */
  readonly options: Readonly<Record<string, string>>;
  /** The user's limits. A backend that obeys them piece by piece says so in its traits (`paced`). */
  readonly pace?: Pace | undefined;
}

/** Bandwidth limits, shared by all requests of all storages of a run. */
export interface Pace {
  /** Resolves when so many more bytes may be sent. Pieces of 64 KiB or less make it smooth. */
  send(bytes: number, signal?: AbortSignal): Promise<void>;
  /** Awaited after bytes came and before more are read, so that the line's other end is held back. */
  receive(bytes: number, signal?: AbortSignal): Promise<void>;
}

/** Locations reach messages only after their secrets were taken out. */
export interface Backend {
  /** @throws {UsageError} RepositoryNotFoundError, BackendError */
  open(location: string, environment: StorageEnvironment): Promise<Storage>;
  /** Makes what a new repository needs. @throws {RepositoryExistsError} and those of `open` */
  create(location: string, environment: StorageEnvironment): Promise<Storage>;
}
