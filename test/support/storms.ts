/** The built program and a repository behind HTTP whose server, or who answers in its place, misbehaves. */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import { fixedRandom } from "./fixed-random.ts";
import { HttpFaultProxy } from "./http-fault-proxy.ts";
import { Workplace } from "./program.ts";

const mib = 1024 * 1024;

export interface StormedServer {
  readonly port: number;
  /** What leads to one repository through a port, and the credentials. */
  readonly environment: (
    port: number,
    scheme: "http" | "https",
  ) => Readonly<Record<string, string | undefined>>;
  /** Must never be said, nor come to another server. */
  readonly secrets: RegExp;
}

/** What a test has at hand beside `stormTests`' own. */
export interface Storm {
  readonly place: Workplace;
  readonly proxy: HttpFaultProxy;
  /** A backup of a disk that is not there yet fails with 30, and say this. */
  readonly expectRefused: (
    said: RegExp,
    options?: readonly string[],
    env?: Readonly<Record<string, string | undefined>>,
  ) => Promise<void>;
}

/** @param scheme  what the storage's options begin with */
export function stormTests(scheme: "s3" | "rest", started: () => Promise<StormedServer>): Storm {
  let server: StormedServer;
  let place: Workplace;
  let proxy: HttpFaultProxy;
  let disks = 0;
  let saved = 0;
  const environment = () => server.environment(proxy.port, "http");
  const isUpload = ({ method, url = "" }: http.IncomingMessage): boolean =>
    (method === "PUT" || method === "POST") && url.includes("/data/");

  beforeAll(async () => {
    server = await started();
    proxy = await HttpFaultProxy.start(server.port);
    place = await Workplace.create();
    mkdirSync(place.path("src"));
    await place.expect(0, ["init"], { env: environment() });
    await expectSaved();
  });

  beforeEach(() => {
    proxy.fault = () => undefined;
    proxy.seen.length = 0;
  });

  afterAll(async () => {
    proxy.fault = () => undefined;
    const snapshots = await place.json<unknown[]>(["snapshots"], { env: environment() });
    expect(snapshots).toHaveLength(saved);
    await place.expect(0, ["check", "--read-data"], { env: environment() });
    await proxy[Symbol.asyncDispose]();
    rmSync(place.folder, { recursive: true, force: true });
  });

  /** @returns what the backup reads: never stored before */
  function newDisk(): Uint8Array {
    const disk = fixedRandom(`disk ${disks++}`).bytes(2 * mib);
    writeFileSync(place.path("src/disk.raw"), disk);
    return disk;
  }

  const backup = ["backup", "src", "--image", "*.raw"];

  async function expectSaved(options: readonly string[] = []): Promise<void> {
    const disk = newDisk();
    await place.expect(0, [...backup, ...options], { env: environment() });
    saved++;
    proxy.fault = () => undefined;
    const from = `latest:${place.path("src/disk.raw")}`;
    const to = place.path("out");
    rmSync(to, { force: true });
    await place.expect(0, ["restore", from, "--to", to], { env: environment() });
    expect(Buffer.compare(readFileSync(to), disk)).toBe(0);
  }

  // That nothing was damaged is seen after all: see afterAll.
  const expectRefused: Storm["expectRefused"] = async (said, options = [], env = {}) => {
    newDisk();
    const { stdout, stderr } = await place.expect(30, [...backup, ...options], {
      env: { ...environment(), ...env },
    });
    expect(stderr).toMatch(said);
    // The error in one line, and in another what to do next.
    expect(stderr).toMatch(/(^|\n)ashlar: Cannot [^\n]+\n {2}[^\n]+\n$/);
    expect(stdout + stderr).not.toMatch(server.secrets);
  };

  test("a storm of 429 and 503 that ends: the backup finishes", async () => {
    let count = 0;
    let left = 8;
    proxy.fault = () => {
      if (count++ % 3 !== 0 || left === 0) return undefined;
      return { status: left-- % 2 === 0 ? 429 : 503 };
    };
    await expectSaved();
    expect(left).toBe(0);
  });

  test("a storm without end: a clear error within the limit", async () => {
    proxy.fault = (request) =>
      isUpload(request) ? { status: proxy.seen.length % 2 === 0 ? 429 : 503 } : undefined;
    await expectRefused(/the server answered (429|503) [^\n]+\n {2}/, ["--retry-for", "2s"]);
    // Nobody hammers who is asked to wait.
    const tries = proxy.seen.filter(
      ({ method, url }) => method !== "GET" && url.includes("/data/"),
    );
    expect(tries.length).toBeLessThan(15);
  });

  test("a connection that stalls without closing: once is survived, always is an error", async () => {
    const limit = ["-o", `${scheme}.timeout=1`];
    let isFirst = true;
    proxy.fault = (request) => {
      if (!isFirst || !isUpload(request)) return undefined;
      isFirst = false;
      return "silence";
    };
    await expectSaved(limit);
    expect(isFirst).toBe(false);
    proxy.fault = (request) => (isUpload(request) ? "silence" : undefined);
    await expectRefused(/nothing moved for 1 s/, [...limit, "--retry-for", "2s"]);
    proxy.fault = ({ method, url = "" }) =>
      method === "GET" && url.includes("/data/") ? "stall" : undefined;
    const cold = { ...environment(), ASHLAR_CACHE_DIR: place.path("cold") };
    const restore = ["restore", "latest", "--target", "none", "--retry-for", "2s", ...limit];
    const { stderr } = await place.expect(30, restore, { env: cold });
    expect(stderr).toMatch(
      /Cannot read data object .*: nothing moved for 1 s\n {2}\d tries within/,
    );
  });

  test("an endpoint that redirects: nothing of ours goes to the other", async () => {
    let connections = 0;
    const other = http.createServer((_, answer) => answer.end());
    other.on("connection", () => connections++);
    await new Promise<void>((resolve) => other.listen(0, "127.0.0.1", resolve));
    try {
      const origin = `http://127.0.0.1:${(other.address() as AddressInfo).port}`;
      const away = (status: number, url = "") => ({
        status,
        headers: { location: `${origin}${url}?token=hush-hush` },
      });
      proxy.fault = ({ url }) => away(301, url);
      await expectRefused(new RegExp(`the server sends us to ${origin}\n`));
      proxy.fault = (request) => (isUpload(request) ? away(308, request.url) : undefined);
      await expectRefused(new RegExp(`the server sends us to ${origin}\n`));
      expect(connections).toBe(0);
    } finally {
      await new Promise((resolve) => other.close(resolve));
    }
  });

  test("TLS with a wrong name: refused before anything is asked", async () => {
    const [key, certificate] = [place.path("tls.key"), place.path("tls.pem")];
    execFileSync(
      "openssl",
      [
        ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"],
        ...["-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=test"],
        ...["-addext", "subjectAltName=DNS:elsewhere.example"],
      ],
      { stdio: "ignore" },
    );
    const tls = { key: readFileSync(key), cert: readFileSync(certificate) };
    await using impostor = await HttpFaultProxy.start(server.port, tls);
    const there = server.environment(impostor.port, "https");
    const trusted = ["-o", `${scheme}.cacert=${certificate}`];
    await expectRefused(/the server's certificate is for another name/, trusted, there);
    await expectRefused(new RegExp(`self-signed .*\n.*-o ${scheme}\\.cacert`), [], there);
    expect(impostor.seen).toEqual([]);
  });

  return {
    get place() {
      return place;
    },
    get proxy() {
      return proxy;
    },
    expectRefused,
  };
}
