/** The gateway as its users see it, and as those who attack it do: raw HTTP against a real server. */
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import http from "node:http";
import { connect } from "node:net";
import { networkInterfaces } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, it } from "vitest";
import { rest } from "../../src/storage/rest/index.ts";
import { networkOf } from "../../src/serve/rest/gateway.ts";
import { hashPassword } from "../../src/serve/rest/index.ts";
import { bytesOf, nameOf, storageContract } from "../storage/storage-contract.ts";
import { requires } from "../support/requires.ts";
import { type GatewayUnderTest, hostsUsers, startGateway } from "../support/rest-servers.ts";

const environment = {
  env: {},
  now: () => Date.now(),
  random: () => 0.5,
  warn: () => undefined,
  options: {},
};

const running: GatewayUnderTest[] = [];
afterEach(async () => {
  for (const gateway of running.splice(0)) await gateway.stop();
});

async function start(...args: Parameters<typeof startGateway>): Promise<GatewayUnderTest> {
  const gateway = await startGateway(...args);
  running.push(gateway);
  return gateway;
}

/** With the repository `hosts` in it. */
async function startWithRepository(
  ...args: Parameters<typeof startGateway>
): Promise<GatewayUnderTest> {
  const gateway = await start(...args);
  // As other servers make it: a folder of packs is made when it is needed. The contract has ours made.
  for (const kind of ["keys", "data", "index", "snapshots", "locks"])
    mkdirSync(join(gateway.served, "hosts", kind), { recursive: true });
  return gateway;
}

interface Answer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: Buffer;
}

/** The path goes out as it stands. */
function ask(
  { url }: { readonly url: string },
  user: string | undefined,
  method: string,
  path: string,
  body: Uint8Array | readonly Uint8Array[] = [],
  headers: Record<string, string> = {},
): Promise<Answer> {
  const parts = body instanceof Uint8Array ? [body] : body;
  const authorization =
    user === undefined
      ? {}
      : { authorization: `Basic ${btoa(user.includes(":") ? user : `${user}:${user}`)}` };
  return new Promise((resolve, reject) => {
    const request = http.request(
      {
        host: "127.0.0.1",
        port: new URL(url).port,
        method,
        path,
        agent: false,
        headers: {
          ...authorization,
          ...("transfer-encoding" in headers
            ? {}
            : { "content-length": parts.reduce((sum, part) => sum + part.length, 0) }),
          ...headers,
        },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", reject);
        response.on("end", () => {
          resolve({
            status: response.statusCode!,
            headers: response.headers,
            body: Buffer.concat(chunks),
          });
        });
      },
    );
    request.on("error", reject);
    for (const part of parts) request.write(part);
    request.end();
  });
}

/** Sends bytes as they are, and gives back all that comes until the other side closes. */
async function sendRaw(
  { url }: { readonly url: string },
  text: string,
  end = true,
): Promise<string> {
  const socket = connect(Number(new URL(url).port), "127.0.0.1");
  let got = "";
  socket.setEncoding("latin1").on("data", (data: string) => (got += data));
  socket.on("error", () => undefined);
  if (end) socket.end(text, "latin1");
  else socket.write(text, "latin1");
  await once(socket, "close");
  return got;
}

const put = (
  gateway: GatewayUnderTest,
  user: string,
  kind: string,
  bytes: Uint8Array,
  name = nameOf(bytes),
) => ask(gateway, user, "POST", `/hosts/${kind}/${name}`, bytes);

function linkOf(fd: string): string {
  try {
    return readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return ""; // closed meanwhile
  }
}

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => entry.name);
}

let contracts = 0;
storageContract(
  "rest: with our gateway",
  async () => {
    const repository = `r${contracts++}`;
    const gateway = await startGateway([
      { name: "admin", role: "full", repositories: [repository] },
    ]);
    return {
      storage: await rest.create(`rest:${gateway.urlOf("admin", repository)}`, environment),
      cleanUp: () => gateway.stop(),
    };
  },
  { checksNames: true, tellsTimes: true },
);

describe("an append user", () => {
  it("adds what a backup adds, and reads only what deduplication needs", async () => {
    const gateway = await startWithRepository();
    for (const kind of ["data", "index", "snapshots", "locks"]) {
      const bytes = bytesOf(1000, kind.length);
      const path = `/hosts/${kind}/${nameOf(bytes)}`;
      expect((await put(gateway, "web1", kind, bytes)).status).toBe(200);
      expect((await ask(gateway, "web1", "HEAD", path)).headers["content-length"]).toBe("1000");
      const isReadable = kind === "index" || kind === "locks";
      expect((await ask(gateway, "web1", "GET", path)).status).toBe(isReadable ? 200 : 403);
      expect((await ask(gateway, "admin", "GET", path)).body).toEqual(Buffer.from(bytes));
    }
    expect((await put(gateway, "web1", "keys", bytesOf(9))).status).toBe(403);
    expect((await ask(gateway, "web1", "POST", "/hosts/config", bytesOf(9))).status).toBe(403);
    expect((await ask(gateway, "web1", "POST", "/hosts/?create=true")).status).toBe(403);
  });

  it("deletes and overwrites nothing, but ends its own sessions and no one else's", async () => {
    const gateway = await startWithRepository();
    const bytes = bytesOf(100);
    for (const kind of ["data", "index", "snapshots"]) {
      await put(gateway, "web1", kind, bytes);
      const path = `/hosts/${kind}/${nameOf(bytes)}`;
      expect((await ask(gateway, "web1", "DELETE", path)).status).toBe(403);
      expect((await ask(gateway, "web1", "POST", path, bytesOf(5))).status).toBe(409);
      expect((await ask(gateway, "admin", "GET", path)).body).toEqual(Buffer.from(bytes));
    }
    await ask(gateway, "admin", "POST", "/hosts/config", bytes);
    expect((await ask(gateway, "web1", "DELETE", "/hosts/config")).status).toBe(403);
    const session = `/hosts/locks/${nameOf(bytes)}`;
    await put(gateway, "web1", "locks", bytes);
    expect((await ask(gateway, "web2", "DELETE", session)).status).toBe(403);
    expect((await ask(gateway, "web1", "DELETE", session)).status).toBe(200);
    expect((await ask(gateway, "web1", "DELETE", session)).status).toBe(404);
    expect(readdirSync(join(gateway.served, "hosts", "locks"))).toEqual([]);
  });

  it("still ends its own session when the gateway was restarted meanwhile", async () => {
    const gateway = await startWithRepository();
    await put(gateway, "web1", "locks", bytesOf(10));
    const second = await start(hostsUsers, { folder: gateway.served });
    expect(
      (await ask(second, "web2", "DELETE", `/hosts/locks/${nameOf(bytesOf(10))}`)).status,
    ).toBe(403);
    expect(
      (await ask(second, "web1", "DELETE", `/hosts/locks/${nameOf(bytesOf(10))}`)).status,
    ).toBe(200);
  });

  it("reads packs and snapshots where its record says so", async () => {
    const gateway = await startWithRepository([
      hostsUsers[0]!,
      { ...hostsUsers[1]!, readData: true },
    ]);
    await put(gateway, "web1", "data", bytesOf(100));
    const path = `/hosts/data/${nameOf(bytesOf(100))}`;
    expect((await ask(gateway, "web1", "GET", path)).body).toEqual(Buffer.from(bytesOf(100)));
  });
});

describe("what is not what its name says", () => {
  it("is never stored: other bytes, fewer, none; by no user, in no kind", async () => {
    const gateway = await startWithRepository();
    const bytes = bytesOf(100_000);
    for (const user of ["web1", "admin"])
      for (const kind of ["data", "index", "snapshots", "locks"])
        for (const wrong of [bytesOf(100_000, 2), bytes.subarray(1), new Uint8Array(0)])
          expect((await put(gateway, user, kind, wrong, nameOf(bytes))).status).toBe(400);
    expect(filesBelow(gateway.served)).toEqual([]);
  });

  it("is gone with the connection that broke off, and the name stays free", async () => {
    const gateway = await startWithRepository();
    const bytes = bytesOf(1000);
    const head =
      `POST /hosts/data/${nameOf(bytes)} HTTP/1.1\r\nHost: x\r\n` +
      `Authorization: Basic ${btoa("web1:web1")}\r\n`;
    const text = Buffer.from(bytes).toString("latin1");
    await sendRaw(gateway, `${head}Content-Length: 2000\r\n\r\n${text}`);
    await sendRaw(gateway, `${head}Transfer-Encoding: chunked\r\n\r\n3e8\r\n${text}\r\n`);
    await expect.poll(() => filesBelow(gateway.served)).toEqual([]);
    expect((await put(gateway, "web1", "data", bytes)).status).toBe(200);
  });

  it("cannot be slipped in by two lengths or by a request within a body", async () => {
    const gateway = await startWithRepository();
    const bytes = bytesOf(10);
    const head =
      `POST /hosts/data/${nameOf(bytes)} HTTP/1.1\r\nHost: x\r\n` +
      `Authorization: Basic ${btoa("web1:web1")}\r\n`;
    const smuggled = `DELETE /hosts/config HTTP/1.1\r\nHost: x\r\nAuthorization: Basic ${btoa("admin:admin")}\r\n\r\n`;
    for (const lengths of [
      "Content-Length: 10\r\nContent-Length: 11\r\n",
      "Content-Length: 10\r\nTransfer-Encoding: chunked\r\n",
      "Content-Length: -1\r\n",
      "Content-Length: 1e3\r\n",
      "Transfer-Encoding: chunked, identity\r\n",
    ])
      expect(await sendRaw(gateway, `${head}${lengths}\r\n0\r\n\r\n${smuggled}`)).toMatch(
        /^HTTP\/1.1 400 /,
      );
    expect(filesBelow(gateway.served)).toEqual([]);
  });

  it("takes a body in chunks, whole", async () => {
    const gateway = await startWithRepository();
    const bytes = bytesOf(300_000);
    const answer = await ask(
      gateway,
      "web1",
      "POST",
      `/hosts/data/${nameOf(bytes)}`,
      [bytes.subarray(0, 1), bytes.subarray(1)],
      { "transfer-encoding": "chunked" },
    );
    expect(answer.status).toBe(200);
    expect((await ask(gateway, "admin", "GET", `/hosts/data/${nameOf(bytes)}`)).body).toEqual(
      Buffer.from(bytes),
    );
  });
});

describe("the way out of the folder", () => {
  const name = nameOf(bytesOf(1));
  it("is not there, however it is written", async () => {
    const gateway = await startWithRepository([
      ...hostsUsers,
      { name: "root", role: "full", repositories: ["/"] },
    ]);
    writeFileSync(join(gateway.folder, "config"), "not yours");
    for (const path of [
      "/../config",
      "/hosts/../../config",
      "/hosts/..%2f..%2fconfig",
      "/hosts/%2e%2e/%2e%2e/config",
      "/hosts/data/../../../config",
      "/hosts/data/..",
      "/hosts//config",
      "//config",
      "/hosts/./config",
      "/hosts/data/%2e%2e%2fconfig",
      `/hosts/data%2f${name}`,
      `/hosts/keys\\..\\config`,
      "/hosts/config%00",
      `/hosts/data/${name.toUpperCase()}`,
      `/hosts/data/${name}/`,
      `/hosts/data/${name}.owner`,
      `/hosts/data/tmp-${name}`,
      "/hosts/other/",
      "http://127.0.0.1/hosts/config",
      "*",
      "/hosts/data/.",
      `/hosts/data/keys/${name}`,
      `/hosts/config/${name}`,
      "/users.json",
      "/served/hosts/config",
      `/${"a/".repeat(50)}config`,
    ])
      for (const user of ["admin", "root"])
        for (const method of ["GET", "POST", "DELETE"]) {
          const { status, body } = await ask(
            gateway,
            user,
            method,
            path,
            method === "POST" ? bytesOf(1) : [],
          );
          expect([400, 403, 404, 405], `${method} ${path}`).toContain(status);
          expect(body.toString()).not.toContain("not yours");
        }
    expect(filesBelow(gateway.served)).toEqual([]);
    expect(readFileSync(join(gateway.folder, "config"), "utf8")).toBe("not yours");
  });

  it("does not lead over symlinks, to files or folders", async () => {
    const gateway = await startWithRepository([
      ...hostsUsers,
      { name: "other", role: "full", repositories: ["link", "link/new", "hosts"] },
    ]);
    const outside = join(gateway.folder, "outside");
    mkdirSync(join(outside, "data"), { recursive: true });
    writeFileSync(join(outside, name), "secret");
    const hosts = join(gateway.served, "hosts");
    mkdirSync(join(hosts, "data", name.slice(0, 2)));
    symlinkSync(join(outside, name), join(hosts, "data", name.slice(0, 2), name));
    rmSync(join(hosts, "index"), { recursive: true });
    symlinkSync(outside, join(hosts, "index"));
    symlinkSync(outside, join(gateway.served, "link"));
    for (const path of [
      `/hosts/data/${name}`,
      `/hosts/index/${name}`,
      "/link/config",
      "/link/data/",
    ]) {
      expect((await ask(gateway, "other", "GET", path)).status, path).toBe(404);
      expect((await ask(gateway, "other", "DELETE", path)).status, path).toBeGreaterThanOrEqual(
        404,
      );
    }
    expect((await ask(gateway, "other", "GET", "/hosts/index/")).status).toBe(404);
    expect(
      JSON.parse((await ask(gateway, "other", "GET", "/hosts/data/")).body.toString()),
    ).toEqual([]);
    expect((await ask(gateway, "other", "POST", "/link/?create=true")).status).toBe(403);
    expect((await ask(gateway, "other", "POST", "/link/new/?create=true")).status).toBe(403);
    expect((await put(gateway, "other", "index", bytesOf(1), name)).status).toBe(404);
    expect((await put(gateway, "other", "data", bytesOf(1), name)).status).toBe(409);
    expect(filesBelow(outside)).toEqual([name]);
    expect(readFileSync(join(outside, name), "utf8")).toBe("secret");
  });

  it("nor to another user's repository", async () => {
    const gateway = await startWithRepository([
      ...hostsUsers,
      { name: "stranger", role: "full", repositories: ["mine"] },
    ]);
    await put(gateway, "web1", "index", bytesOf(1));
    for (const [method, path] of [
      ["GET", "/hosts/index/"],
      ["GET", `/hosts/index/${name}`],
      ["HEAD", `/hosts/index/${name}`],
      ["DELETE", `/hosts/index/${name}`],
      ["POST", "/hosts/?create=true"],
      ["POST", "/?create=true"],
      ["GET", "/config"],
      ["GET", "/mine/hosts/index/"],
    ] as const)
      expect((await ask(gateway, "stranger", method, path)).status).toBe(403);
    expect((await ask(gateway, "web1", "HEAD", `/hosts/index/${name}`)).status).toBe(200);
  });
});

describe("a log-in", () => {
  it("needs a right name and password, and says no more than that", async () => {
    const gateway = await startWithRepository(hostsUsers, { limits: { wrongPasswordMs: 1 } });
    for (const user of [
      "admin:wrong",
      "nobody:admin",
      ":",
      "admin:",
      `admin:${"x".repeat(1500)}`,
    ]) {
      const { status, headers, body } = await ask(gateway, user, "GET", "/hosts/index/");
      expect(status).toBe(401);
      expect(headers["www-authenticate"]).toContain("Basic");
      expect(body.toString()).toBe("wrong user or password\n");
    }
    expect((await ask(gateway, undefined, "GET", "/hosts/index/")).status).toBe(401);
    expect(JSON.stringify(gateway.audit())).not.toContain('wrong":');
    expect(gateway.audit().some(({ user, status }) => user === "admin" && status === 401)).toBe(
      true,
    );
  });

  it("waits longer after each wrong password, and only then", async () => {
    const waits: number[] = [];
    const gateway = await startWithRepository(hostsUsers, {
      sleep: (ms) => {
        waits.push(ms);
        return Promise.resolve();
      },
    });
    for (let n = 0; n < 3; n++) await ask(gateway, "admin:wrong", "GET", "/hosts/index/");
    expect((await ask(gateway, "admin", "GET", "/hosts/index/")).status).toBe(200);
    expect(waits).toEqual([250, 500, 1000]);
  });

  it("of many guesses at once hashes few, and a known user goes on meanwhile", async () => {
    const password = await hashPassword("admin", (length) => new Uint8Array(length));
    const gateway = await startWithRepository([{ ...hostsUsers[0]!, password }], {
      limits: { wrongPasswordMs: 1 },
    });
    expect((await ask(gateway, "admin", "GET", "/hosts/index/")).status).toBe(200);
    const guesses = Promise.all(
      Array.from({ length: 20 }, (_, n) => ask(gateway, `admin:${n}`, "GET", "/hosts/index/")),
    );
    expect((await ask(gateway, "admin", "GET", "/hosts/index/")).status).toBe(200);
    const statuses = (await guesses).map(({ status }) => status);
    expect(statuses.filter((status) => status === 429).length).toBeGreaterThan(5);
    expect(statuses.every((status) => status === 401 || status === 429)).toBe(true);
  });

  it("follows the file of users when it is read anew, and keeps the old one when that is broken", async () => {
    const gateway = await startWithRepository(hostsUsers, { limits: { wrongPasswordMs: 1 } });
    expect((await ask(gateway, "web1", "GET", "/hosts/index/")).status).toBe(200);
    await gateway.setUsers(hostsUsers.filter(({ name }) => name !== "web1"));
    await gateway.gateway.reload();
    expect((await ask(gateway, "web1", "GET", "/hosts/index/")).status).toBe(401);
    writeFileSync(join(gateway.folder, "users.json"), "{");
    await expect(gateway.gateway.reload()).rejects.toThrow("it is not JSON");
    expect((await ask(gateway, "web2", "GET", "/hosts/index/")).status).toBe(200);
  });
});

describe("limits", () => {
  it("refuse what would be over the quota before it is sent, and count what is deleted", async () => {
    const gateway = await startWithRepository([
      hostsUsers[0]!,
      { ...hostsUsers[1]!, quotaBytes: 33_000 },
    ]);
    expect((await put(gateway, "web1", "data", bytesOf(10_000))).status).toBe(200);
    expect((await put(gateway, "web1", "data", bytesOf(10_000, 2))).status).toBe(200);
    expect((await put(gateway, "web1", "data", bytesOf(10_000, 3))).status).toBe(507);
    expect((await put(gateway, "admin", "data", bytesOf(20_000, 4))).status).toBe(200);
    for (const bytes of [bytesOf(20_000, 4), bytesOf(10_000)])
      await ask(gateway, "admin", "DELETE", `/hosts/data/${nameOf(bytes)}`);
    expect((await put(gateway, "web1", "data", bytesOf(10_000, 3))).status).toBe(200);
    const racing = [5, 6, 7, 8].map((seed) => put(gateway, "web1", "data", bytesOf(2000, seed)));
    const statuses = (await Promise.all(racing)).map(({ status }) => status).sort();
    expect(statuses).toEqual([200, 200, 507, 507]);
  });

  it("count a block for the smallest object: a disk has only so many", async () => {
    const gateway = await startWithRepository([{ ...hostsUsers[1]!, quotaBytes: 5 * 4096 }]);
    const statuses: number[] = [];
    for (let n = 0; n < 6; n++)
      statuses.push((await put(gateway, "web1", "data", bytesOf(16, n + 1))).status);
    expect(statuses).toEqual([200, 200, 200, 200, 200, 507]);
  });

  it("answer what is asked in one breath one by one", async () => {
    const gateway = await startWithRepository();
    const bytes = bytesOf(4 << 20);
    const path = `/hosts/data/${nameOf(bytes)}`;
    expect((await put(gateway, "admin", "data", bytes)).status).toBe(200);
    const authorization = `Authorization: Basic ${btoa("admin:admin")}`;
    const socket = connect(Number(new URL(gateway.url).port), "127.0.0.1");
    socket.on("error", () => undefined);
    socket.pause();
    socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n${authorization}\r\n\r\n`.repeat(200));
    const opened = (): number =>
      readdirSync("/proc/self/fd").filter((fd) => linkOf(fd).startsWith(gateway.served)).length;
    await expect.poll(opened).toBe(1);
    await sleep(300);
    expect(opened()).toBe(1);
    socket.destroy();
    await expect.poll(opened).toBe(0);
  });

  it("of one address take only so many connections, and leave others theirs", async (context) => {
    const own = Object.values(networkInterfaces())
      .flat()
      .find((each) => each?.family === "IPv4" && !each.internal)?.address;
    requires(context, own !== undefined, "this machine has no address but its own loop");
    const gateway = await start(hostsUsers, {
      host: "0.0.0.0",
      limits: { addressConnectionsMax: 3 },
    });
    const port = Number(new URL(gateway.url).port);
    const held = Array.from({ length: 5 }, () => connect(port, own));
    let closed = 0;
    for (const socket of held)
      socket
        .on("error", () => undefined)
        .on("close", () => closed++)
        .resume();
    await expect.poll(() => closed).toBe(2);
    expect((await ask(gateway, "web1", "GET", "/hosts/index/")).status).toBe(404);
    for (const socket of held) socket.destroy();
    expect(["::ffff:10.1.2.3", "10.1.2.3", "::1", "127.0.0.9"].map(networkOf)).toEqual([
      ...["10.1.2.3", "10.1.2.3"],
      ...[undefined, undefined],
    ]);
    expect(["2001:db8:1:2::5", "2001:db8:1:2:3:4:5:6", "fe80::1%eth0"].map(networkOf)).toEqual([
      ...["2001:db8:1:2", "2001:db8:1:2"],
      "fe80:0:0:0",
    ]);
  });

  it("answer 429 with Retry-After to who asks for more than his share", async () => {
    const gateway = await startWithRepository(
      [
        hostsUsers[0]!,
        { ...hostsUsers[1]!, requestsPerSecond: 0.5 },
        { ...hostsUsers[2]!, bytesPerSecond: 10_000 },
      ],
      { limits: { shareWaitMsMax: 0 } },
    );
    const statuses: number[] = [];
    for (let n = 0; n < 6; n++)
      statuses.push((await ask(gateway, "web1", "GET", "/hosts/index/")).status);
    expect(statuses).toContain(200);
    expect(statuses.at(-1)).toBe(429);
    expect((await put(gateway, "web2", "data", bytesOf(200_000))).status).toBe(200);
    const { status, headers } = await put(gateway, "web2", "data", bytesOf(10));
    expect([status, Number(headers["retry-after"]) > 10]).toEqual([429, true]);
    expect((await ask(gateway, "admin", "GET", "/hosts/index/")).status).toBe(200);
  });

  it("end a body that is too large, a header that is too long, a client that is too slow", async () => {
    const gateway = await startWithRepository(hostsUsers, {
      limits: {
        objectBytesMax: 1000,
        headersTimeoutMs: 200,
        bodyTimeoutMs: 300,
        bytesPerSecondMin: 1e6,
      },
    });
    expect((await put(gateway, "web1", "data", bytesOf(1001))).status).toBe(413);
    const path = `/hosts/data/${nameOf(bytesOf(1001))}`;
    const chunked = { "transfer-encoding": "chunked" };
    expect((await ask(gateway, "web1", "POST", path, bytesOf(1001), chunked)).status).toBe(413);
    const long = `GET / HTTP/1.1\r\nHost: x\r\nX-A: ${"a".repeat(20_000)}\r\n\r\n`;
    expect(await sendRaw(gateway, long)).toMatch(/^HTTP\/1.1 431 /);
    expect(await sendRaw(gateway, "GET / HTTP/1.1\r\nHo", false)).toMatch(/^HTTP\/1.1 408 |^$/);
    const slow =
      `POST ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: Basic ${btoa("web1:web1")}\r\n` +
      `Content-Length: 900\r\n\r\nabc`;
    await sendRaw(gateway, slow, false); // Returns: the gateway has closed it.
    await expect.poll(() => filesBelow(gateway.served)).toEqual([]);
  });

  it("tell of a full disk, and leave nothing half-written", async (context) => {
    requires(context, process.getuid?.() === 0, "mounting a small file system needs root");
    const gateway = await start();
    const hosts = join(gateway.served, "hosts");
    mkdirSync(hosts);
    try {
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=2m", "none", hosts]);
    } catch {
      requires(context, false, "tmpfs cannot be mounted here");
    }
    try {
      await ask(gateway, "admin", "POST", "/hosts/?create=true");
      const large = randomBytes(4 * 1024 * 1024);
      expect((await put(gateway, "web1", "data", large)).status).toBe(507);
      expect(filesBelow(gateway.served)).toEqual([]);
      expect((await put(gateway, "web1", "data", bytesOf(1000))).status).toBe(200);
    } finally {
      execFileSync("umount", [hosts]);
    }
  });
});

describe("reading", () => {
  it("gives ranges as HTTP has them", async () => {
    const gateway = await startWithRepository();
    const bytes = Buffer.from(bytesOf(1000));
    await put(gateway, "admin", "data", bytes);
    const range = (header: string): Promise<Answer> =>
      ask(gateway, "admin", "GET", `/hosts/data/${nameOf(bytes)}`, [], { range: header });
    for (const [header, status, from, to] of [
      ["bytes=0-0", 206, 0, 1],
      ["bytes=10-", 206, 10, 1000],
      ["bytes=-3", 206, 997, 1000],
      ["bytes=-5000", 206, 0, 1000],
      ["bytes=999-5000", 206, 999, 1000],
      ["bytes=5-4", 200, 0, 1000],
      ["bytes=0-1,5-6", 200, 0, 1000],
      ["bytes=", 200, 0, 1000],
      ["lines=1-2", 200, 0, 1000],
    ] as const) {
      const answer = await range(header);
      expect([header, answer.status, answer.body]).toEqual([
        header,
        status,
        bytes.subarray(from, to),
      ]);
      if (status === 206)
        expect(answer.headers["content-range"]).toBe(`bytes ${from}-${to - 1}/1000`);
    }
    for (const header of ["bytes=1000-", "bytes=5000-6000", "bytes=-0"]) {
      const answer = await range(header);
      expect([answer.status, answer.headers["content-range"]]).toEqual([416, "bytes */1000"]);
    }
  });

  it("lists in both versions of the protocol, and nothing but objects", async () => {
    const gateway = await startWithRepository();
    await put(gateway, "web1", "locks", bytesOf(3));
    writeFileSync(join(gateway.served, "hosts", "locks", "tmp-1"), "x");
    const list = async (accept: string): Promise<unknown> =>
      JSON.parse(
        (await ask(gateway, "web1", "GET", "/hosts/locks/", [], { accept })).body.toString(),
      );
    const name = nameOf(bytesOf(3));
    const storedMs = expect.any(Number) as number; // Ours alone; others pass it over.
    expect(await list("application/vnd.x.restic.rest.v2")).toEqual([{ name, size: 3, storedMs }]);
    expect(await list("*/*")).toEqual([name]);
  });
});

describe("the gateway", () => {
  it("writes down who did what, what it refused and why", async () => {
    const gateway = await startWithRepository();
    await ask(gateway, "admin", "GET", "/hosts/index/");
    await put(gateway, "web1", "data", bytesOf(1000));
    await ask(gateway, "web1", "DELETE", `/hosts/data/${nameOf(bytesOf(1000))}`);
    await ask(gateway, "web1", "GET", `/evil"\n{"user":"admin"}`.replace("\n", "%0a"));
    await expect.poll(() => gateway.audit()).toHaveLength(4);
    expect(gateway.audit()).toMatchObject([
      { user: "admin", method: "GET", repository: "hosts", object: "index/", status: 200 },
      {
        user: "web1",
        method: "POST",
        object: `data/${nameOf(bytesOf(1000))}`,
        status: 200,
        received: 1000,
      },
      { user: "web1", method: "DELETE", status: 403, reason: "the role append may not do that" },
      { user: "web1", method: "GET", object: `/evil"%0a{"user":"admin"}`, status: 404 },
    ]);
  });

  it("writes nothing into its log that a terminal would obey", async () => {
    const gateway = await startWithRepository();
    await ask(gateway, "\u009b2Jx:\u009b", "GET", "/hosts/index/").catch(() => undefined);
    await sendRaw(gateway, "GET /\u009b2J\u0085 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    await expect.poll(() => gateway.audit().length).toBeGreaterThan(0);
    const log = readFileSync(join(gateway.folder, "audit.log"), "utf8");
    expect(log).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f]/);
  });

  it("finishes an upload that is under way when it is told to end", async () => {
    const gateway = await startWithRepository();
    const bytes = bytesOf(100_000);
    const port = Number(new URL(gateway.url).port);
    const request = http.request({
      host: "127.0.0.1",
      port,
      method: "POST",
      path: `/hosts/data/${nameOf(bytes)}`,
      headers: { authorization: `Basic ${btoa("web1:web1")}`, "content-length": bytes.length },
    });
    const answered = once(request, "response") as Promise<[http.IncomingMessage]>;
    request.write(bytes.subarray(0, 50_000));
    const data = join(gateway.served, "hosts", "data");
    await expect.poll(() => filesBelow(data).length).toBe(1);
    const closed = gateway.gateway.close();
    request.end(bytes.subarray(50_000));
    expect((await answered)[0].statusCode).toBe(200);
    await closed;
    expect(filesBelow(data)).toEqual([nameOf(bytes)]);
  });
});
