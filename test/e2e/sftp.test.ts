/** The built program and a repository behind a real sshd: a life of it, with the connection cut in between. */
import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { equalBytes } from "../../src/bytes.ts";
import { FaultProxy } from "../support/fault-proxy.ts";
import { type ProgramOptions, Workplace } from "../support/program.ts";
import { requires } from "../support/requires.ts";
import { hasSshd, SshServer } from "../support/ssh-server.ts";

const mebibyte = 1024 * 1024;

it("backs up, restores, checks and prunes by SFTP, though the connection is cut", async (context) => {
  requires(context, hasSshd, "there is no sshd");
  await using server = await SshServer.start();
  await using proxy = await FaultProxy.start(server.port);
  await using place = await Workplace.create();
  server.know([proxy.port], true);
  const env = { HOME: server.home, ASHLAR_REPO: server.url("/~/repo", proxy.port) };
  const options: ProgramOptions = { env };
  await place.expect(0, ["init"], options);

  const image = place.path("disk.raw");
  writeFileSync(image, randomBytes(40 * mebibyte));
  proxy.set({ resetAfterBytes: { direction: "up", bytes: 10 * mebibyte } });
  const backup = await place.expect(0, ["backup", image], options);
  expect(proxy.resets).toBe(1);
  expect(backup.stderr).toContain("Trying again");
  expect(backup.stderr).toContain("was cut");

  proxy.set({ resetAfterBytes: { direction: "down", bytes: 10 * mebibyte } });
  const restored = place.path("restored.raw");
  await place.expect(0, ["restore", `latest:${image}`, "--to", restored], options);
  expect(proxy.resets).toBe(2);
  expect(equalBytes(readFileSync(restored), readFileSync(image))).toBe(true);

  writeFileSync(image, randomBytes(mebibyte));
  await place.expect(0, ["backup", image], options);
  await place.expect(0, ["forget", "--keep-last", "1"], options);
  await place.expect(0, ["prune", "--grace", "0"], options);
  await place.expect(0, ["check", "--read-data"], options);
  // The disk behind it is an ordinary repository, without anything half-written.
  const root = join(server.data, "repo");
  expect(
    readdirSync(root, { recursive: true }).filter((path) => String(path).includes("tmp-")),
  ).toEqual([]);
  const { stdout } = await place.expect(0, ["snapshots"], { env: { ASHLAR_REPO: root } });
  expect(stdout).toContain("1 snapshot");
});

it("does not go on with a host it does not know", async (context) => {
  requires(context, hasSshd, "there is no sshd");
  await using server = await SshServer.start();
  await using place = await Workplace.create();
  server.know([server.port + 1]);
  const { stderr } = await place.expect(30, ["init"], {
    env: { HOME: server.home, ASHLAR_REPO: server.url("/~/repo") },
  });
  expect(stderr).toContain("is not known");
  expect(stderr).toContain("ssh-keyscan");
  expect(readdirSync(server.data)).toEqual([]);
});
