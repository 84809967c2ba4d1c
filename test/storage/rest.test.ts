/** Repositories behind restic's REST protocol, as its servers speak it and as they fail. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";
import type { StorageEnvironment } from "../../src/storage/backend.ts";
import { rest } from "../../src/storage/rest/index.ts";
import { startRclone } from "../support/rest-servers.ts";
import { storageContract } from "./storage-contract.ts";

function environment(changes: Partial<StorageEnvironment> = {}): StorageEnvironment {
  return {
    env: {},
    now: () => Date.now(),
    random: () => 0.5,
    warn: () => undefined,
    options: {},
    ...changes,
  };
}

const folder = await mkdtemp(join(tmpdir(), "ashlar-rest-"));
const rclone = await startRclone(folder);
afterAll(async () => {
  await rclone?.stop();
  await rm(folder, { recursive: true, force: true });
});

let repositories = 0;
storageContract("rest: with rclone", async () => ({
  storage: await rest.create(`rest:${rclone!.url}r${repositories++}/`, environment()),
  cleanUp: () => Promise.resolve(),
}));
