import { MemoryStorage } from "../support/storage-memory.ts";
import { storageContract } from "./storage-contract.ts";

storageContract("MemoryStorage", () =>
  Promise.resolve({ storage: new MemoryStorage(), cleanUp: () => Promise.resolve() }),
);
