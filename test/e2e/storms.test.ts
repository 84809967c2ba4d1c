/** Servers that misbehave, and the built program. S3 has its turn where its server runs: test/storage/s3-storms.ts. */
import { afterAll, expect, test } from "vitest";
import { startGateway, type GatewayUnderTest } from "../support/rest-servers.ts";
import { stormTests } from "../support/storms.ts";
import { Workplace } from "../support/program.ts";

let gateway: GatewayUnderTest | undefined;
afterAll(() => gateway?.stop());

const storm = stormTests("rest", async () => {
  const server = await startGateway([{ name: "hushed", role: "full", repositories: ["hosts"] }]);
  gateway = server;
  const { host, port } = new URL(server.url);
  return {
    port: Number(port),
    environment: (at, scheme) => ({
      ASHLAR_REPO: `rest:${scheme}:${server
        .urlOf("hushed")
        .replace(/^http:/, "")
        .replace(host, `127.0.0.1:${at}`)}`,
    }),
    secrets: /hush/,
  };
});

test("credentials that end in mid-run: said, and what to do", async () => {
  storm.proxy.fault = ({ method, url = "" }) =>
    method === "POST" && url.includes("/data/") ? { status: 401 } : undefined;
  await storm.expectRefused(/the server answered 401 Unauthorized\n {2}.*ASHLAR_REST_PASSWORD/);
});

test("one of two repositories that cannot be reached is named, without its password", async () => {
  await using work = await Workplace.create();
  await work.expect(0, ["init"]);
  const repos = ["-r", "repo", "-r", "rest:http://me:hush@127.0.0.1:1/there"];
  const { stdout, stderr } = await work.expect(3, [
    ...["backup", ...repos, "--retry-for", "0s", "key"],
  ]);
  expect(stderr).toContain("No snapshot in rest:http://127.0.0.1:1/there/: ");
  expect(stdout).toContain("rest:http://127.0.0.1:1/there/:\nfailed, see above");
  expect(stdout + stderr).not.toContain("hush");
});

test("an option of a storage that no repository of the run is in: refused by its name", async () => {
  await using work = await Workplace.create();
  await work.expect(0, ["init"]);
  for (const repo of ["repo", "sftp://127.0.0.1:1/repo"]) {
    const args = ["-r", repo, "snapshots", "--retry-for", "0s", "-o", "s3.region=mars"];
    const { stderr } = await work.expect(2, args);
    expect(stderr).toContain("Cannot use option -o s3.region");
  }
  const typo = await work.expect(2, ["snapshots", "-o", "region=mars"]);
  expect(typo.stderr).toContain("no storage has one of that name");
  // One of several takes it.
  const both = ["-r", "repo", "-r", "s3:http://127.0.0.1:1/bucket", "--retry-for", "0s"];
  await work.expect(3, ["backup", ...both, "-o", "s3.region=mars", "key"]);
});
