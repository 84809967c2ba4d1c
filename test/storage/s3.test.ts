/** Repositories in S3, as Ceph's gateway serves them. */
import { afterAll } from "vitest";
import type { StorageEnvironment } from "../../src/storage/backend.ts";
import { s3 } from "../../src/storage/s3/index.ts";
import { startCeph } from "../support/ceph/index.ts";
import { storageContract } from "./storage-contract.ts";

const ceph = await startCeph();
afterAll(() => ceph?.stop());

function environment(changes: Partial<StorageEnvironment> = {}): StorageEnvironment {
  return {
    env: ceph!.env,
    now: () => Date.now(),
    random: () => 0.5,
    warn: () => undefined,
    options: {},
    ...changes,
  };
}

let repositories = 0;
storageContract("S3 (Ceph)", async () => ({
  storage: await s3.create(
    `s3:http://127.0.0.1:${ceph!.port}/contract/r${repositories++}`,
    environment(),
  ),
  cleanUp: () => Promise.resolve(),
}));
