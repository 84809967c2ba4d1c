/**
 * Ashlar as a library: open a repository and call the operations that the commands call.
 *
 *     import { openStorage, Repository, listSnapshots } from "ashlar";
 *
 * Everything here is typed, takes its clock and randomness as arguments (`systemRandom` is the usual
 * one) and throws the errors of docs/errors.md.
 */
export * from "./ops/index.ts";
export { encodeKeyFile, generateKeyFileKey, systemRandom, type Random } from "../crypto/index.ts";
export { processIdentity } from "../posix/index.ts";
export {
  checkOptions,
  createPace,
  createStorage,
  locationText,
  type OpenOptions,
  openStorage,
  type Pace,
  rateOf,
  type RequestRecord,
  type Storage,
  type StorageEnvironment,
  Traffic,
  type TrafficCounts,
} from "../storage/index.ts";
export * from "../errors.ts";
