/**
 * Real processes: eight hosts with sibling disks back up into one repository while prunes come and go,
 * and some of either are killed. Every snapshot that a run said it has committed comes back. S3 has its
 * turn where its server runs: test/storage/s3-hosts.ts.
 *
 * ASHLAR_MANY_HOSTS_REPO names another location to do it in: a folder, SFTP or S3, with its credentials
 * in the environment.
 */
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { Workplace } from "../support/program.ts";
import { requires } from "../support/requires.ts";
import { startGateway } from "../support/rest-servers.ts";
import { expectAllComeBack, expectSharedSentOnce, Fleet } from "../support/sibling-hosts.ts";
import { hasSshd, SshServer } from "../support/ssh-server.ts";

const hostCount = 8;

test("eight siblings, prunes and kills at once: all that was committed comes back", async () => {
  await using place = await Workplace.create();
  const repo = process.env["ASHLAR_MANY_HOSTS_REPO"];
  const fleet = new Fleet(place, repo === undefined ? {} : { ...process.env, ASHLAR_REPO: repo });
  await place.expect(0, ["init"], { env: fleet.env });
  await fleet.night(1, hostCount);
  const old = fleet.committed.splice(0, hostCount / 2).map(({ id }) => id);
  await place.expect(0, ["forget", ...old], { env: fleet.env });
  await fleet.night(2, hostCount);
  expect(fleet.committed).toHaveLength(1.5 * hostCount);
  expect(fleet.kills).toBeGreaterThan(0);
  await expectAllComeBack(fleet);
});

test("the same by SFTP, in one night", async (context) => {
  requires(context, hasSshd, "there is no sshd");
  await using server = await SshServer.start();
  await using place = await Workplace.create();
  server.know([server.port], true);
  const fleet = new Fleet(place, { HOME: server.home, ASHLAR_REPO: server.url("/~/repo") });
  await place.expect(0, ["init"], { env: fleet.env });
  await fleet.night(1, hostCount);
  expect(fleet.committed).toHaveLength(hostCount);
  expect(fleet.kills).toBeGreaterThan(0);
  await expectAllComeBack(fleet);
});

test("what two hosts share is stored and sent once, by SFTP", async (context) => {
  requires(context, hasSshd, "there is no sshd");
  await using server = await SshServer.start();
  const environment = (port: number) => {
    server.know([port], true);
    return { HOME: server.home, ASHLAR_REPO: server.url("/~/repo", port) };
  };
  await expectSharedSentOnce("SFTP", server.port, environment, 8192, () =>
    folderBytes(server.data),
  );
});

test("what two hosts share is stored and sent once, by REST", async () => {
  const server = await startGateway();
  try {
    const { port } = new URL(server.url);
    const environment = (proxyPort: number) => ({
      ASHLAR_REPO: `rest:${server.urlOf("admin").replace(`:${port}/`, `:${proxyPort}/`)}`,
    });
    await expectSharedSentOnce("REST", Number(port), environment, 1024, () =>
      folderBytes(server.served),
    );
  } finally {
    await server.stop();
  }
});

function folderBytes(folder: string): number {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .reduce((sum, entry) => sum + statSync(join(entry.parentPath, entry.name)).size, 0);
}
