import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { sftp } from "../../src/storage/sftp/index.ts";
import { hasRclone, hasSshd, SshServer, startRclone } from "../support/ssh-server.ts";
import { storageContract } from "./storage-contract.ts";

let server: SshServer;
let count = 0;

beforeAll(async () => {
  server = await SshServer.start();
});

afterAll(async () => {
  await server[Symbol.asyncDispose]();
});

storageContract("SftpStorage on OpenSSH", async () => ({
  storage: await sftp.create(server.url(`/~/contract/${count++}`), server.environment()),
  cleanUp: () => Promise.resolve(),
}));

describe("rclone", () => {
  let rclone: Awaited<ReturnType<typeof startRclone>>;
  beforeAll(async () => {
    rclone = await startRclone(server);
  });
  afterAll(async () => {
    await rclone[Symbol.asyncDispose]();
  });
  storageContract("SftpStorage on rclone", async () => ({
    storage: await sftp.create(rclone.url(`/contract/${count++}`), server.environment()),
    cleanUp: () => Promise.resolve(),
  }));
});
