/** A disk for another machine: only over TLS, to those who show that they may read it. */
import { execFile, spawnSync, type ChildProcess } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { makeCertificates } from "../support/nbd-certificates.ts";
import { Workplace } from "../support/program.ts";
import { requires } from "../support/requires.ts";

const run = promisify(execFile);
const hasClients = ["nbdinfo", "nbdcopy", "qemu-img"].every(
  (name) => spawnSync(name, ["--version"]).error === undefined,
);

class Served implements AsyncDisposable {
  readonly place: Workplace;
  readonly image: string;
  readonly bytes = randomBytes(3 << 20);
  #child: ChildProcess | undefined;

  private constructor(place: Workplace) {
    this.place = place;
    this.image = place.path("disk.raw");
  }

  static async create(): Promise<Served> {
    const served = new Served(await Workplace.create());
    await served.place.expect(0, ["init"]);
    writeFileSync(served.image, served.bytes);
    await served.place.expect(0, ["backup", served.image, "--image", "*.raw"]);
    return served;
  }

  /** @returns the port, or the socket's path */
  async start(...args: string[]): Promise<string | number> {
    const child = this.place.start(["serve", "nbd", "latest", ...args, "--json"]);
    this.#child = child;
    const [line] = (await once(child.stdout!.setEncoding("utf8"), "data")) as [string];
    return (JSON.parse(line) as { address: string | number }).address;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child?.kill("SIGKILL");
    await this.place[Symbol.asyncDispose]();
  }
}

test("with a key that both have: libnbd, QEMU and we ourselves read; others get nothing", async (context) => {
  requires(context, hasClients, "nbdinfo, nbdcopy and qemu-img are needed");
  await using served = await Served.create();
  const { place } = served;
  mkdirSync(place.path("psk"));
  const keys = place.path("psk", "keys.psk");
  writeFileSync(keys, `bob:${"01".repeat(32)}\nalice:${"ab".repeat(32)}\n`, { mode: 0o600 });
  writeFileSync(place.path("wrong.psk"), `alice:${"cd".repeat(32)}\n`);
  writeFileSync(place.path("stranger.psk"), `eve:${"ab".repeat(32)}\n`);
  const socket = place.path("s");
  await served.start("--socket", socket, "--tls-psk", keys);

  const uri = (file: string, user: string): string =>
    `nbds+unix://${user}@/disk.raw?socket=${socket}&tls-psk-file=${file}`;
  await run("nbdcopy", [uri(keys, "alice"), place.path("copy.raw")]);
  expect(readFileSync(place.path("copy.raw")).equals(served.bytes)).toBe(true);
  const secret = `tls-creds-psk,id=t,dir=${place.path("psk")},username=alice,endpoint=client`;
  const source = `driver=nbd,server.type=unix,server.path=${socket},export=disk.raw,tls-creds=t`;
  await run("qemu-img", [
    ...["convert", "--object", secret, "--image-opts", source, "-O", "raw"],
    place.path("converted.raw"),
  ]);
  expect(readFileSync(place.path("converted.raw")).equals(served.bytes)).toBe(true);
  const again = await place.json(["backup", uri(keys, "alice")]);
  expect(again).toMatchObject({ chunks_new: 0, bytes_total: served.bytes.length });

  await expect(run("nbdinfo", [uri(place.path("wrong.psk"), "alice")])).rejects.toThrow();
  await expect(run("nbdinfo", [uri(place.path("stranger.psk"), "eve")])).rejects.toThrow();
  const inTheClear = run("qemu-img", ["info", `nbd+unix:///disk.raw?socket=${socket}`]);
  await expect(inTheClear).rejects.toThrow("TLS negotiation required");
  const list = run("nbdinfo", ["--list", `nbd+unix:///?socket=${socket}`]);
  await expect(list).rejects.toThrow(); // not even names
  await run("nbdinfo", [uri(keys, "bob")]); // it has not minded
});

test("with certificates: a client needs one of the authority's", async (context) => {
  requires(context, hasClients, "nbdinfo, nbdcopy and qemu-img are needed");
  await using served = await Served.create();
  const { place } = served;
  makeCertificates(place.path("pki"));
  makeCertificates(place.path("other"));
  const port = await served.start(
    ...["--port", "0", "--listen", "0.0.0.0", "--tls-certificates", place.path("pki")],
  );
  const uri = (folder: string): string =>
    `nbds://localhost:${port}/disk.raw?tls-certificates=${place.path(folder)}`;
  await run("nbdcopy", [uri("pki"), place.path("copy.raw")]);
  expect(readFileSync(place.path("copy.raw")).equals(served.bytes)).toBe(true);
  const again = await place.json(["backup", uri("pki")]);
  expect(again).toMatchObject({ chunks_new: 0 });

  // One who trusts our authority and has another's certificate, and one who has none.
  mkdirSync(place.path("mixed"));
  mkdirSync(place.path("none"));
  for (const [from, into, name] of [
    ["pki", "mixed", "ca-cert.pem"],
    ["other", "mixed", "client-cert.pem"],
    ["other", "mixed", "client-key.pem"],
    ["pki", "none", "ca-cert.pem"],
  ] as const)
    writeFileSync(place.path(into, name), readFileSync(place.path(from, name)));
  for (const folder of ["mixed", "none"])
    await expect(run("nbdcopy", [uri(folder), place.path("stolen.raw")])).rejects.toThrow();
});

test("what is sent between the request for TLS and TLS is not listened to", async () => {
  await using served = await Served.create();
  const { place } = served;
  const keys = place.path("keys.psk");
  writeFileSync(keys, `a:${"ab".repeat(32)}\n`);
  const socket = place.path("s");
  await served.start("--socket", socket, "--tls-psk", keys);
  const client = connect(socket);
  const option = (number: number): Buffer => {
    const bytes = Buffer.alloc(16);
    bytes.write("IHAVEOPT");
    bytes.writeUInt32BE(number, 8);
    return bytes;
  };
  client.write(Buffer.concat([Buffer.from([0, 0, 0, 3]), option(5), option(8), option(3)]));
  client.resume();
  await once(client, "close"); // and not a list of the exports
  expect(client.bytesRead).toBeLessThanOrEqual(18 + 20);
});

test("what cannot be kept private is not served", async () => {
  await using served = await Served.create();
  const { place } = served;
  for (const [code, words, reason] of [
    [2, ["--port", "0", "--listen", "0.0.0.0"], "without TLS"],
    [2, ["--port", "0", "--tls-psk", "a", "--tls-certificates", "b"], "exclude each other"],
    [1, ["--port", "0", "--tls-certificates", place.folder], "ca-cert.pem: it is not there"],
    [1, ["--port", "0", "--tls-psk", served.image], "has no key"],
  ] as const) {
    const { stderr } = await place.expect(code, ["serve", "nbd", "latest", ...words]);
    expect(stderr).toContain(reason);
  }
});
