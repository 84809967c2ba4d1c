/** The gateway by TLS: own authority, wrong names, client certificates, a new certificate without a restart. */
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { BackendError } from "../../src/errors.ts";
import type { Storage } from "../../src/storage/index.ts";
import { rest } from "../../src/storage/rest/index.ts";
import { type GatewayUnderTest, startGateway } from "../support/rest-servers.ts";

const folder = mkdtempSync(join(tmpdir(), "ashlar-tls-"));
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});
const at = (name: string): string => join(folder, name);

function openssl(...words: string[]): void {
  execFileSync("openssl", words, { cwd: folder, stdio: "ignore" });
}

const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

function makeAuthority(name: string): void {
  openssl(
    "req",
    "-x509",
    ...newKey,
    "-keyout",
    `${name}.key`,
    "-out",
    `${name}.pem`,
    "-days",
    "2",
    "-subj",
    `/CN=${name}`,
  );
}

function makeCertificate(name: string, authority: string, alternative: string): void {
  writeFileSync(at(`${name}.ext`), `subjectAltName=${alternative}\n`);
  openssl(
    "req",
    "-new",
    ...newKey,
    "-keyout",
    `${name}.key`,
    "-out",
    `${name}.csr`,
    "-subj",
    `/CN=${name}`,
  );
  openssl(
    "x509",
    "-req",
    "-in",
    `${name}.csr`,
    "-CA",
    `${authority}.pem`,
    "-CAkey",
    `${authority}.key`,
    "-CAcreateserial",
    "-days",
    "2",
    "-extfile",
    `${name}.ext`,
    "-out",
    `${name}.pem`,
  );
}

makeAuthority("ours");
makeAuthority("theirs");
makeCertificate("server", "ours", "IP:127.0.0.1");
makeCertificate("elsewhere", "ours", "DNS:elsewhere.example");
makeCertificate("admin", "ours", "DNS:admin");
makeCertificate("web1", "ours", "DNS:web1");

function create(gateway: GatewayUnderTest, options: Record<string, string>): Promise<Storage> {
  return rest.create(`rest:${gateway.urlOf("admin")}`, {
    env: {},
    now: () => Date.now(),
    random: () => 0.5,
    warn: () => undefined,
    options,
  });
}

async function refusal(promise: Promise<Storage>): Promise<BackendError> {
  const error: unknown = await promise.catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(BackendError);
  return error as BackendError;
}

const client = (name: string): Record<string, string> => ({
  "rest.cacert": at("ours.pem"),
  "rest.client-cert": at(`${name}.pem`),
  "rest.client-key": at(`${name}.key`),
});

it("is trusted by the authority that the user names, for its own name, and by no other", async () => {
  copyFileSync(at("server.pem"), at("live.pem"));
  copyFileSync(at("server.key"), at("live.key"));
  const tls = { certificate: at("live.pem"), key: at("live.key"), clientCa: undefined };
  const gateway = await startGateway(undefined, { tls });
  try {
    const storage = await create(gateway, { "rest.cacert": at("ours.pem") });
    expect(storage.traits.conditionalPut).toBe(true);
    await storage.close();
    for (const options of [{}, { "rest.cacert": at("theirs.pem") }]) {
      const error = await refusal(create(gateway, options));
      expect([error.temporary, error.hint]).toEqual([
        false,
        expect.stringContaining("rest.cacert"),
      ]);
    }
    copyFileSync(at("elsewhere.pem"), at("live.pem"));
    copyFileSync(at("elsewhere.key"), at("live.key"));
    await gateway.gateway.reload();
    const error = await refusal(create(gateway, { "rest.cacert": at("ours.pem") }));
    expect([error.errno, error.temporary]).toEqual(["ERR_TLS_CERT_ALTNAME_INVALID", false]);
    // A certificate that does not fit its key leaves the one before in use.
    copyFileSync(at("server.pem"), at("live.pem"));
    await expect(gateway.gateway.reload()).rejects.toThrow("Cannot use certificate");
    expect((await refusal(create(gateway, { "rest.cacert": at("ours.pem") }))).errno).toBe(
      "ERR_TLS_CERT_ALTNAME_INVALID",
    );
  } finally {
    await gateway.stop();
  }
});

it("takes only clients whose certificate bears their user's name, where it asks for one", async () => {
  const tls = { certificate: at("server.pem"), key: at("server.key"), clientCa: at("ours.pem") };
  const gateway = await startGateway(undefined, { tls });
  try {
    await (await create(gateway, client("admin"))).close();
    expect((await refusal(create(gateway, client("web1")))).message).toContain("403");
    expect((await refusal(create(gateway, { "rest.cacert": at("ours.pem") }))).exitCode).toBe(30);
    makeCertificate("stranger", "theirs", "DNS:admin");
    expect((await refusal(create(gateway, client("stranger")))).exitCode).toBe(30);
  } finally {
    await gateway.stop();
  }
});
