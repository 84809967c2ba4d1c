/** How S3 fails, and what its users hear: each a clear error, or an answer after another try. */
import { execFileSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { equalBytes } from "../../src/bytes.ts";
import { BackendError, RepositoryNotFoundError, StoreError, UsageError } from "../../src/errors.ts";
import type { StorageEnvironment } from "../../src/storage/backend.ts";
import type { Storage } from "../../src/storage/index.ts";
import { layered } from "../../src/storage/layers.ts";
import { s3 } from "../../src/storage/s3/index.ts";
import { type Ceph, listingPage } from "../support/ceph/index.ts";
import { HttpFaultProxy } from "../support/http-fault-proxy.ts";
import { temporaryFolder } from "../support/storage-folders.ts";
import { bytesOf, listed, nameOf } from "./storage-contract.ts";

export function s3Environment(
  ceph: Ceph,
  changes: Partial<StorageEnvironment> = {},
): StorageEnvironment {
  return {
    env: ceph.env,
    now: () => Date.now(),
    random: () => 0.5,
    warn: () => undefined,
    options: {},
    ...changes,
  };
}

async function backendFailureOf(promise: Promise<unknown>): Promise<BackendError> {
  const error = await failureOf(promise);
  if (error instanceof BackendError) return error;
  throw error;
}

async function failureOf(promise: Promise<unknown>): Promise<StoreError> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof StoreError) return error;
    throw error;
  }
  throw new Error("nothing failed");
}

const notImplemented =
  "<Error><Code>NotImplemented</Code><Message>A header is not implemented</Message></Error>";

export function s3Failures(startedCeph: () => Ceph): void {
  describe("S3 that fails", () => {
    let ceph: Ceph;
    const opened: (AsyncDisposable | Storage)[] = [];
    let repositories = 0;

    beforeAll(async () => {
      ceph = startedCeph();
      // The bucket, and one repository with a config.
      const storage = await s3.create(at(ceph.port, "failures"), s3Environment(ceph));
      await storage.put("config", "config", [bytesOf(10)]);
      await storage.close();
    });

    afterEach(async () => {
      vi.useRealTimers();
      for (const one of opened.splice(0)) {
        if ("close" in one) await one.close();
        else await one[Symbol.asyncDispose]();
      }
    });

    function at(port: number, prefix: string, bucket = "failures"): string {
      return `s3:http://127.0.0.1:${port}/${bucket}/${prefix}`;
    }

    async function proxied(tls?: Parameters<typeof HttpFaultProxy.start>[1]) {
      const proxy = await HttpFaultProxy.start(ceph.port, tls);
      opened.push(proxy);
      return proxy;
    }

    /** A new repository behind a proxy. */
    async function behind(
      proxy: HttpFaultProxy,
      changes: Partial<StorageEnvironment> = {},
    ): Promise<Storage> {
      const storage = await s3.create(
        at(proxy.port, `r${repositories++}`),
        s3Environment(ceph, changes),
      );
      opened.push(storage);
      return storage;
    }

    const open = (location: string, changes: Partial<StorageEnvironment> = {}) =>
      s3.open(location, s3Environment(ceph, changes));

    it("wrong credentials: says so, and shows none of them", async () => {
      const cases = [
        { AWS_ACCESS_KEY_ID: "NOSUCHKEY00000000001", AWS_SECRET_ACCESS_KEY: "hush-hush" },
        { ...ceph.env, AWS_SECRET_ACCESS_KEY: "hush-hush" },
      ];
      for (const env of cases) {
        const error = await backendFailureOf(open(at(ceph.port, "failures"), { env }));
        expect(error).toBeInstanceOf(BackendError);
        expect(error.temporary).toBe(false);
        expect(error.hint).toMatch(/credentials|AWS_ACCESS_KEY_ID/);
        expect(JSON.stringify([error.message, error.hint, String(error.cause)])).not.toContain(
          "hush",
        );
      }
    });

    it("a token that has expired: says what to do", async () => {
      const proxy = await proxied();
      proxy.fault = () => ({
        status: 400,
        body: "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>",
      });
      const env = { ...ceph.env, AWS_SESSION_TOKEN: "hush-hush" };
      const error = await backendFailureOf(open(at(proxy.port, "failures"), { env }));
      expect(proxy.seen[0]?.headers["x-amz-security-token"]).toBe("hush-hush");
      expect(error.temporary).toBe(false);
      expect(error.message).not.toContain("hush");
      expect(error.message).toContain("ExpiredToken");
      expect(error.hint).toContain("log in again");
    });

    it("no credentials anywhere: names where they are looked for", async () => {
      const home = temporaryFolder();
      const settings = {
        HOME: home,
        AWS_CONFIG_FILE: join(home, "config"),
        AWS_SHARED_CREDENTIALS_FILE: join(home, "credentials"),
        AWS_EC2_METADATA_DISABLED: "true",
      };
      for (const [name, value] of Object.entries(settings)) vi.stubEnv(name, value);
      try {
        const error = await failureOf(open(at(ceph.port, "failures"), { env: {} }));
        expect(error.hint).toContain("AWS_ACCESS_KEY_ID");
        // Files are read once by a process.
        vi.stubEnv("AWS_SHARED_CREDENTIALS_FILE", join(home, "later"));
        writeFileSync(
          join(home, "later"),
          `[backup]\naws_access_key_id = ${ceph.env["AWS_ACCESS_KEY_ID"]!}\naws_secret_access_key = ${ceph.env["AWS_SECRET_ACCESS_KEY"]!}\n`,
        );
        await (await open(at(ceph.port, "failures"), { env: { AWS_PROFILE: "backup" } })).close();
        const options = { "s3.profile": "backup" };
        await (await open(at(ceph.port, "failures"), { env: {}, options })).close();
      } finally {
        vi.unstubAllEnvs();
      }
    });

    it("no such bucket, no such repository", async () => {
      for (const location of [at(ceph.port, "", "no-such-bucket"), at(ceph.port, "elsewhere")])
        expect(await failureOf(open(location))).toBeInstanceOf(RepositoryNotFoundError);
      expect((await failureOf(open(at(ceph.port, "", "no-such-bucket")))).message).toContain(
        "no such bucket",
      );
    });

    it("a location that is none, or holds a key: refused, and not shown", async () => {
      for (const location of [
        "s3:",
        "s3://host",
        "s3://key:hush@host/bucket",
        "s3:https://host/../x",
        "s3://host/bucket/a/../b",
      ]) {
        const error = await failureOf(open(location));
        expect(error).toBeInstanceOf(UsageError);
        expect(error.message + error.hint!).not.toContain("hush");
      }
      for (const options of [
        { "s3.nonsense": "1" },
        { "s3.sse": "rot13" },
        { "s3.storage-class": "GLACIER" },
        { "s3.object-lock": "governance" },
      ])
        expect(await failureOf(open(at(1, "x"), { options }))).toBeInstanceOf(UsageError);
    });

    it("a clock that is off: goes on by the server's time, and says so", async () => {
      vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 3 * 3_600_000 });
      const warnings: string[] = [];
      const storage = await open(at(ceph.port, "failures"), {
        warn: (text) => warnings.push(text),
      });
      opened.push(storage);
      expect((await storage.get("config", "config"))?.length).toBe(10);
      expect(await storage.put("index", nameOf(bytesOf(7)), [bytesOf(7)])).toBe("created");
      expect(warnings).toEqual([expect.stringMatching(/clock is 180 minutes ahead/)]);
    });

    it("storms of 429, 500, 503 and SlowDown: temporary, with the server's own wait", async () => {
      const proxy = await proxied();
      const storage = await behind(proxy);
      const slowDown = "<Error><Code>SlowDown</Code><Message>Reduce your rate</Message></Error>";
      const storms = [
        { status: 429, headers: { "retry-after": "7" } },
        { status: 500, body: "<html>oops" },
        { status: 503, body: slowDown },
        { status: 503, body: "" },
      ];
      for (const storm of storms) {
        proxy.fault = () => storm;
        const name = nameOf(bytesOf(5));
        for (const act of [
          () => storage.put("data", name, [bytesOf(5)]),
          () => storage.get("data", name),
          () => storage.stat("data", name),
          () => listed(storage.list("data")),
        ]) {
          const error = await backendFailureOf(act());
          expect([error.temporary, error.retryAfterMs]).toEqual([
            true,
            storm.status === 429 ? 7000 : undefined,
          ]);
        }
      }
      proxy.fault = () => undefined;
      expect(await listed(storage.list("data"))).toEqual([]);
    });

    it("under the usual wrappers a storm is waited out", async () => {
      const proxy = await proxied();
      const storage = layered(await behind(proxy), {
        ...s3Environment(ceph),
        elapsed: () => performance.now(),
      });
      let left = 2;
      proxy.fault = () => (left-- > 0 ? { status: 503 } : undefined);
      const body = bytesOf(100_000);
      expect(await storage.put("data", nameOf(body), [body])).toBe("created");
      expect(left).toBeLessThan(0);
      expect(await storage.get("data", nameOf(body))).toEqual(body);
    });

    it("silence, before or within an answer: temporary after the time limit", async () => {
      const proxy = await proxied();
      const storage = await behind(proxy, { options: { "s3.timeout": "1" } });
      const body = bytesOf(1_000_000);
      await storage.put("data", nameOf(body), [body]);
      for (const fault of ["silence", "stall"] as const) {
        proxy.fault = () => fault;
        const error = await backendFailureOf(storage.get("data", nameOf(body)));
        expect(error.temporary).toBe(true);
      }
      proxy.fault = () => "silence";
      const error = await backendFailureOf(storage.put("data", nameOf(bytesOf(9)), [body]));
      expect([error.temporary, error.errno]).toEqual([true, "ETIMEDOUT"]);
    });

    it("the user's own limit is no silence: what waits for the line is not given up", async () => {
      const proxy = await proxied();
      const taken: number[] = [];
      const wait = async (bytes: number): Promise<void> => {
        taken.push(bytes);
        await sleep(bytes / 200);
      };
      const pace = { send: wait, receive: wait };
      const storage = await behind(proxy, { pace, options: { "s3.timeout": "1" } });
      const bodies = [1, 2].map((seed) => bytesOf(250_000, seed));
      const puts = bodies.map((body) => storage.put("data", nameOf(body), [body]));
      expect(await Promise.all(puts)).toEqual(["created", "created"]);
      expect(Math.max(...taken)).toBeLessThanOrEqual(16 * 1024);
      expect(await storage.get("data", nameOf(bodies[0]!))).toEqual(bodies[0]);
    });

    it("a redirect elsewhere: named, not followed", async () => {
      const thief = await proxied();
      const proxy = await proxied();
      for (const status of [301, 302, 307, 308]) {
        proxy.fault = () => ({
          status,
          headers: { location: `http://localhost:${thief.port}/stolen?token=hush` },
        });
        const error = await backendFailureOf(open(at(proxy.port, "failures")));
        expect(error.temporary).toBe(false);
        expect(error.message).toContain(`sends us to http://localhost:${thief.port}`);
        expect(error.message).not.toContain("hush");
      }
      expect(thief.seen).toEqual([]);
    });

    it("a byte that flips on the way there: refused by the server, and sent again", async () => {
      const proxy = await proxied();
      const storage = await behind(proxy);
      const body = bytesOf(300_000);
      await storage.put("index", nameOf(bytesOf(1)), [bytesOf(1)]);
      proxy.fault = ({ method }) =>
        method === "PUT" ? { flipped: "question", at: 200_000 } : undefined;
      const error = await backendFailureOf(storage.put("data", nameOf(body), [body]));
      expect(error.temporary).toBe(true);
      proxy.fault = () => undefined;
      expect(await storage.get("data", nameOf(body))).toBeUndefined();
      expect(await storage.put("data", nameOf(body), [body])).toBe("created");
    });

    it("a server that ignores or refuses If-None-Match: what is there is asked for first", async () => {
      for (const way of ["ignores", "refuses"] as const) {
        const proxy = await proxied();
        const stored = new Set<string>();
        proxy.fault = ({ headers, url = "" }) => {
          if (headers["if-none-match"] === undefined) return undefined;
          if (way === "refuses") return { status: 501, body: notImplemented };
          if (stored.has(url)) return { status: 200 };
          stored.add(url);
          return undefined;
        };
        const warnings: string[] = [];
        const storage = await behind(proxy, { warn: (text) => warnings.push(text) });
        const name = nameOf(bytesOf(1000));
        expect(await storage.put("data", name, [bytesOf(1000)])).toBe("created");
        expect(await storage.put("data", name, [bytesOf(999, 2)])).toBe("exists");
        expect(await storage.get("data", name)).toEqual(bytesOf(1000));
        expect(storage.traits.conditionalPut).toBe(false);
        expect(warnings).toEqual([expect.stringContaining("If-None-Match")]);
      }
    });

    it("learns once whether If-None-Match is honoured", async () => {
      const proxy = await proxied();
      const storage = await behind(proxy);
      expect(storage.traits.conditionalPut).toBe(true);
      await storage.put("config", "config", [bytesOf(10)]);
      const again = await open(storage.location);
      opened.push(again);
      proxy.seen.length = 0;
      for (let n = 0; n < 3; n++) await again.put("index", nameOf(bytesOf(9, n)), [bytesOf(9, n)]);
      expect(proxy.seen.map(({ method }) => method)).toEqual(["PUT", "PUT", "PUT", "PUT"]);
      expect(again.traits.conditionalPut).toBe(true);
    });

    it("nobody listens there: temporary, and says what it may be", async () => {
      const error = await backendFailureOf(open(at(1, "failures")));
      expect(error.temporary).toBe(true);
      expect(error.message).toContain("ECONNREFUSED");
      expect(error.hint).toContain("running");
    });

    it("TLS: one's own authority is named by an option; another name or authority is refused", async () => {
      const folder = temporaryFolder();
      const made = (name: string, subject: string) => {
        const [key, certificate] = [join(folder, `${name}.key`), join(folder, `${name}.pem`)];
        execFileSync(
          "openssl",
          [
            ...["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"],
            ...["-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=test"],
            ...["-addext", `subjectAltName=${subject}`],
          ],
          { stdio: "ignore" },
        );
        return { certificate, tls: { key: readFileSync(key), cert: readFileSync(certificate) } };
      };
      const right = made("right", "IP:127.0.0.1");
      const wrong = made("wrong", "DNS:elsewhere.example");
      const body = bytesOf(5_000_000);
      const secure = await proxied(right.tls);
      const location = `s3://127.0.0.1:${secure.port}/failures/tls`;
      const options = { "s3.cacert": right.certificate };
      const storage = await s3.create(location, s3Environment(ceph, { options }));
      opened.push(storage);
      const shared = new Uint8Array(new SharedArrayBuffer(body.length));
      shared.set(body);
      expect(await storage.put("data", nameOf(body), [shared])).toBe("created");
      const got = await storage.get("data", nameOf(body));
      expect(got !== undefined && equalBytes(got, body)).toBe(true);

      const untrusted = await backendFailureOf(open(location));
      expect(untrusted.temporary).toBe(false);
      expect(untrusted.hint).toContain("s3.cacert");
      const impostor = await proxied(wrong.tls);
      const misnamed = await backendFailureOf(
        open(`s3://127.0.0.1:${impostor.port}/failures/tls`, {
          options: { "s3.cacert": wrong.certificate },
        }),
      );
      expect(misnamed.temporary).toBe(false);
      expect(misnamed.message).toContain("certificate is for another name");
      expect(impostor.seen).toEqual([]);
    });

    it("asks once more in the region that the server names", async () => {
      const proxy = await proxied();
      proxy.fault = ({ headers }) =>
        headers.authorization?.includes("/eu-west-3/s3/") === true
          ? undefined
          : {
              status: 400,
              body: "<Error><Code>AuthorizationHeaderMalformed</Code><Message>wrong region</Message><Region>eu-west-3</Region></Error>",
            };
      const storage = await open(at(proxy.port, "failures"));
      opened.push(storage);
      expect((await storage.get("config", "config"))?.length).toBe(10);
      expect(proxy.seen).toHaveLength(2);
      const options = { "s3.region": "mars-north-1" };
      const error = await failureOf(open(at(proxy.port, "failures"), { options }));
      expect(error.message).toContain("AuthorizationHeaderMalformed");
    });

    it("lists more than a page holds", async () => {
      const proxy = await proxied();
      const storage = await behind(proxy);
      const names = Array.from({ length: listingPage + 20 }, (_, n) => nameOf(Uint8Array.of(n)));
      const queue = names.values();
      const put = async (): Promise<void> => {
        for (const name of queue) await storage.put("snapshots", name, []);
      };
      await Promise.all(Array.from({ length: 16 }, put));
      proxy.seen.length = 0;
      expect((await listed(storage.list("snapshots"))).map(({ name }) => name)).toEqual(
        names.sort(),
      );
      expect(proxy.seen).toHaveLength(2);
    });
  });
}
