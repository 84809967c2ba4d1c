/** Repositories behind restic's REST protocol, as its servers speak it and as they fail. */
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import {
  BackendError,
  CorruptionError,
  RepositoryNotFoundError,
  UsageError,
} from "../../src/errors.ts";
import type { StorageEnvironment } from "../../src/storage/backend.ts";
import type { Storage } from "../../src/storage/index.ts";
import { rest } from "../../src/storage/rest/index.ts";
import { startRclone } from "../support/rest-servers.ts";
import { bytesOf, listed, nameOf, storageContract } from "./storage-contract.ts";

function environment(changes: Partial<StorageEnvironment> = {}): StorageEnvironment {
  return {
    env: {},
    now: () => Date.now(),
    random: () => 0.5,
    warn: () => undefined,
    options: {},
    ...changes,
  };
}

const folder = await mkdtemp(join(tmpdir(), "ashlar-rest-"));
const rclone = await startRclone(folder);
afterAll(async () => {
  await rclone?.stop();
  await rm(folder, { recursive: true, force: true });
});

let repositories = 0;
storageContract("rest: with rclone", async () => ({
  storage: await rest.create(`rest:${rclone!.url}r${repositories++}/`, environment()),
  cleanUp: () => Promise.resolve(),
}));

/** A server of one test: answers what it is told to, and notes what it was asked. */
async function scripted(
  answer: (request: IncomingMessage, response: ServerResponse) => void,
  hasConfig = (): boolean => true,
): Promise<{ url: string; asked: string[] } & AsyncDisposable> {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    asked.push(
      `${request.method ?? ""} ${request.url ?? ""} ${request.headers.authorization ?? ""}`,
    );
    if (request.method === "HEAD" && request.url?.endsWith("/config") === true && hasConfig()) {
      response.setHeader("content-length", 10).end();
    } else answer(request, response);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/repo/`,
    asked,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const name = nameOf(bytesOf(1000));

async function failureOf(promise: Promise<unknown>): Promise<BackendError> {
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(BackendError);
  return error as BackendError;
}

async function opened(url: string, changes: Partial<StorageEnvironment> = {}): Promise<Storage> {
  return rest.open(`rest:${url}`, environment(changes));
}

describe("a server that misbehaves", () => {
  it("sends us elsewhere: we stay, and our credentials with us", async () => {
    await using elsewhere = await scripted((_, response) => response.end("caught"));
    await using server = await scripted((_, response) => {
      response.writeHead(307, { location: `${elsewhere.url}?token=hidden` }).end();
    });
    const storage = await opened(server.url.replace("://", "://me:hidden@"));
    for (const error of await Promise.all([
      failureOf(storage.get("data", name)),
      failureOf(storage.put("data", name, [bytesOf(1000)])),
      failureOf(listed(storage.list("data"))),
    ])) {
      expect(error.temporary).toBe(false);
      expect(error.message).toContain(new URL(elsewhere.url).origin);
      expect(`${error.message} ${error.hint ?? ""}`).not.toContain("hidden");
    }
    expect(elsewhere.asked).toEqual([]);
    await storage.close();
  });

  it.each([
    [429, true],
    [500, true],
    [503, true],
    [401, false],
    [507, false],
  ])("answers %i: worth another try is %s, after the time it names", async (status, temporary) => {
    await using server = await scripted((_, response) => {
      response.writeHead(status, { "retry-after": "7" }).end();
    });
    const storage = await opened(server.url);
    for (const error of await Promise.all([
      failureOf(storage.get("data", name)),
      failureOf(storage.stat("data", name)),
      failureOf(storage.put("data", name, [bytesOf(1000)])),
      failureOf(storage.delete("data", name)),
      failureOf(listed(storage.list("data"))),
    ]))
      expect(error).toMatchObject({ temporary, retryAfterMs: 7000 });
    await storage.close();
  });

  it("ends early, in a body with its length, in one without, in a listing", async () => {
    const listing = `[{"name":"${name}","size":1000},{"name":"${name}"`;
    await using server = await scripted((request, response) => {
      if (request.url?.endsWith("/data/") === true) response.end(listing);
      else {
        const range = /(\d+)-(\d+)/.exec(request.headers.range ?? "0-999")!;
        const hasRange = request.headers.range !== undefined;
        response.writeHead(hasRange ? 206 : 200, {
          ...(hasRange
            ? { "content-range": `bytes ${range[0]}/1000` }
            : { "content-length": 1000 }),
        });
        response.write(bytesOf(10), () => (hasRange ? response.end() : response.destroy()));
      }
    });
    const storage = await opened(server.url);
    expect((await failureOf(storage.get("data", name))).temporary).toBe(true);
    const range = { offset: 5, length: 100 };
    expect((await failureOf(storage.get("data", name, range))).temporary).toBe(true);
    expect((await failureOf(listed(storage.list("data")))).temporary).toBe(true);
    await storage.close();
  });

  it("stalls: the call is given up, and may be made again", async () => {
    await using server = await scripted((request, response) => {
      if (request.method === "GET") response.writeHead(200, { "content-length": 1000 }).write("x");
    });
    const storage = await opened(server.url, { options: { "rest.timeout": "1" } });
    const errors = await Promise.all([
      failureOf(storage.get("data", name)),
      failureOf(storage.stat("data", name)),
      failureOf(storage.put("data", name, [bytesOf(1000)])),
      failureOf(listed(storage.list("data"))),
    ]);
    for (const error of errors) {
      expect(error.temporary).toBe(true);
      expect(error.message).toContain("nothing moved for 1 s");
    }
    await storage.close();
  });

  it("ignores ranges, or sends others than were asked for", async () => {
    const whole = bytesOf(1000);
    await using server = await scripted((request, response) => {
      if (request.url?.includes("/index/") === true)
        response.writeHead(206, { "content-range": "bytes 0-9/1000" }).end(whole.subarray(0, 10));
      else response.end(whole);
    });
    const storage = await opened(server.url);
    expect(await storage.get("data", name, { offset: 7, length: 20 })).toEqual(whole.slice(7, 27));
    await expect(storage.get("data", name, { offset: 990, length: 20 })).rejects.toThrow(
      CorruptionError,
    );
    expect(
      (await failureOf(storage.get("index", name, { offset: 7, length: 20 }))).message,
    ).toContain("other bytes");
    await storage.close();
  });

  it("lists what is no list of objects, or strangers' files among them", async () => {
    const lists = [
      "<html>",
      "[1]",
      `[{"name":5,"size":1}]`,
      `[{"name":"a","size":-1}]`,
      `{"name":"${name}"}`,
      `[{"name":"${"x".repeat(100_000)}`,
      "",
    ];
    await using server = await scripted((_, response) => {
      response.end(
        lists.shift() ??
          ` [ {"size": 5, "x": "}]", "name": "${name}"}, {"name":"a.rest-server-temp","size":1} ] `,
      );
    });
    const storage = await opened(server.url);
    while (lists.length > 0) await failureOf(listed(storage.list("data")));
    expect(await listed(storage.list("data"))).toEqual([{ name, size: 5 }]);
    await storage.close();
  });

  it("has lost the repository meanwhile: that is not an empty one", async () => {
    let isThere = true;
    const answer = (request: IncomingMessage, response: ServerResponse): void => {
      response.writeHead(request.url?.endsWith("/") === true ? 200 : 404).end("[]");
    };
    await using server = await scripted(answer, () => isThere);
    const storage = await opened(server.url);
    expect(await listed(storage.list("data"))).toEqual([]);
    expect(await storage.get("data", name)).toBeUndefined();
    isThere = false;
    await expect(listed(storage.list("data"))).rejects.toThrow(RepositoryNotFoundError);
    await expect(storage.get("data", name)).rejects.toThrow(RepositoryNotFoundError);
    await storage.close();
  });
});

describe("a location", () => {
  it.each([
    "rest:",
    "rest:host/path",
    "rest:ftp://me:hidden@host/",
    "rest:http://me:hidden@host:99999/",
    "rest:http://me:hidden@host/path?create=true",
    "rest:http://me:hid%den@host/",
  ])("%s is refused without its password in the message", async (location) => {
    const error = await rest.open(location, environment()).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(UsageError);
    expect(`${String(error)} ${(error as UsageError).hint ?? ""}`).not.toContain("hid");
  });

  it("shows no credentials, and takes them from the URL or the environment", async () => {
    await using server = await scripted((_, response) => response.writeHead(404).end());
    const env = { ASHLAR_REST_USERNAME: "me", ASHLAR_REST_PASSWORD: "hidden" };
    for (const [url, wanted, vars] of [
      [server.url, "me:hidden", env],
      [server.url.replace("://", "://you:p%40ss@"), "you:p@ss", env],
      [server.url, "", {}],
    ] as const) {
      const storage = await opened(url, { env: vars });
      expect(storage.location).toBe(`rest:${server.url}`);
      expect(server.asked.at(-1)).toBe(
        `HEAD /repo/config ${wanted === "" ? "" : `Basic ${btoa(wanted)}`}`,
      );
      await storage.close();
    }
  });

  it("may be a Unix socket", async () => {
    const path = join(folder, "socket");
    const server = createServer((request, response) => {
      response.setHeader("content-length", request.url === "/a/config" ? 10 : 0).end();
    });
    server.listen(path);
    await once(server, "listening");
    const storage = await opened(`http+unix://${path}:/a/`);
    expect(await storage.stat("config", "config")).toEqual({ name: "config", size: 10 });
    await storage.close();
    server.close();
  });

  it("where nobody listens is worth another try, an unknown host is not", async () => {
    await using server = await scripted(() => undefined);
    await server[Symbol.asyncDispose]();
    expect(await failureOf(opened(server.url))).toMatchObject({
      temporary: true,
      errno: "ECONNREFUSED",
    });
  });
});

it("does not overwrite at a server that would, and says that it decides no races", async () => {
  const storage = await rest.create(`rest:${rclone!.url}overwriting/`, environment());
  expect(storage.traits.conditionalPut).toBe(false);
  await storage.put("config", "config", [bytesOf(5)]);
  expect(await storage.put("config", "config", [bytesOf(6)])).toBe("exists");
  expect(await storage.get("config", "config")).toEqual(bytesOf(5));
  await storage.close();
});
