/** The contract on the two servers that differ most: OpenSSH, and rclone, which lacks fsync, links and exclusive names. */
import { afterAll, beforeAll, describe } from "vitest";
import { sftp } from "../../src/storage/sftp/index.ts";
import { hasRclone, hasSshd, SshServer, startRclone } from "../support/ssh-server.ts";
import { storageContract } from "./storage-contract.ts";

const isCi = process.env["CI"] !== undefined;
if (!hasSshd || !hasRclone) console.warn("sshd or rclone is not installed: CI fails without them");

describe.runIf(hasSshd || isCi)("OpenSSH", () => {
  let server: SshServer;
  let count = 0;

  beforeAll(async () => {
    server = await SshServer.start();
  });
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
  });

  storageContract(
    "SftpStorage on OpenSSH",
    async () => ({
      storage: await sftp.create(server.url(`/~/contract/${count++}`), server.environment()),
      cleanUp: () => Promise.resolve(),
    }),
    { tellsTimes: true },
  );

  describe.runIf(hasRclone || isCi)("rclone", () => {
    let rclone: Awaited<ReturnType<typeof startRclone>>;

    beforeAll(async () => {
      rclone = await startRclone(server);
    });
    afterAll(async () => {
      await rclone[Symbol.asyncDispose]();
    });

    storageContract(
      "SftpStorage on rclone",
      async () => ({
        storage: await sftp.create(rclone.url(`/contract/${count++}`), server.environment()),
        cleanUp: () => Promise.resolve(),
      }),
      { tellsTimes: true },
    );
  });
});
