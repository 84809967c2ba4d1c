/** Bounds on what a client may cost; tests have their own. */
export interface Limits {
  /** Of one object: larger than any pack of ours or restic's. */
  readonly objectBytesMax: number;
  /** Of config, keys and locks. */
  readonly smallObjectBytesMax: number;
  readonly connectionsMax: number;
  /** Of one address that is not this machine's own, so that none takes all. */
  readonly addressConnectionsMax: number;
  readonly headerBytesMax: number;
  /** Until a request's headers are there. */
  readonly headersTimeoutMs: number;
  /** Nothing moves on a connection. */
  readonly idleTimeoutMs: number;
  /** A body is done within this and a second more for each `bytesPerSecondMin`. */
  readonly bodyTimeoutMs: number;
  readonly bytesPerSecondMin: number;
  /** What a request may wait for its share before it is refused with 429. */
  readonly shareWaitMsMax: number;
  /** From the call to end until what is still in flight is cut off. */
  readonly closeTimeoutMs: number;
  /** The wait before the answer to an address's first wrong password; doubled with each more. */
  readonly wrongPasswordMs: number;
  readonly wrongPasswordMsMax: number;
}

const mebibyte = 1024 * 1024;

export const defaultLimits: Limits = {
  objectBytesMax: 256 * mebibyte,
  smallObjectBytesMax: mebibyte,
  connectionsMax: 512,
  addressConnectionsMax: 128,
  headerBytesMax: 8192,
  headersTimeoutMs: 20_000,
  idleTimeoutMs: 60_000,
  bodyTimeoutMs: 60_000,
  bytesPerSecondMin: 16 * 1024,
  shareWaitMsMax: 2000,
  closeTimeoutMs: 30_000,
  wrongPasswordMs: 250,
  wrongPasswordMsMax: 30_000,
};
