/** Where objects lie: the interface, the local file system, and how a location is opened. */
export type { Backend, Pace, StorageEnvironment } from "./backend.ts";
export { type RequestRecord, Traffic, type TrafficCounts } from "./counted.ts";
export type { OpenOptions } from "./layers.ts";
export { createPace, type PaceOptions } from "./pace.ts";
export { rateOf } from "./rate.ts";
export { syncFolder } from "./durable-file.ts";
export { checkOptions, createStorage, locationText, openStorage } from "./location.ts";
export { createLocalStorage, LocalStorage, openLocalStorage } from "./local.ts";
export {
  type ByteRange,
  configName,
  type ObjectInfo,
  type ObjectKind,
  objectKinds,
  type Storage,
  type StorageCall,
  type StorageTraits,
} from "./storage.ts";
export { WrappedStorage } from "./wrapped.ts";
