/** Connections that are cut or fall silent, disks that are full, servers that forbid: what the caller sees, and what stays behind. */
import { execFileSync } from "node:child_process";
import { readdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it, type TestContext } from "vitest";
import { equalBytes } from "../../src/bytes.ts";
import {
  BackendError,
  RepositoryExistsError,
  RepositoryNotFoundError,
  UsageError,
} from "../../src/errors.ts";
import { createLocalStorage, openLocalStorage, type Storage } from "../../src/storage/index.ts";
import { sftp } from "../../src/storage/sftp/index.ts";
import { FaultProxy } from "../support/fault-proxy.ts";
import { requires } from "../support/requires.ts";
import { hasSshd, SshServer } from "../support/ssh-server.ts";
import { bytesOf, listed, nameOf } from "./storage-contract.ts";

const body = bytesOf(3 * 1024 * 1024);
const name = nameOf(body);
let server: SshServer;
let proxy: FaultProxy;
let count = 0;
const made: Storage[] = [];

beforeAll(async () => {
  if (!hasSshd) return;
  server = await SshServer.start();
  proxy = await FaultProxy.start(server.port);
  server.know([server.port, proxy.port], true);
});

afterAll(async () => {
  if (!hasSshd) return;
  await proxy[Symbol.asyncDispose]();
  await server[Symbol.asyncDispose]();
});

afterEach(async () => {
  for (const storage of made.splice(0)) await storage.close();
});

async function make(
  context: TestContext,
  options: Record<string, string> = {},
): Promise<{ storage: Storage; root: string }> {
  requires(context, hasSshd, "there is no sshd");
  proxy.set({});
  const path = `faults/${count++}`;
  const storage = await sftp.create(
    server.url(`/~/${path}`, proxy.port),
    server.environment({ options }),
  );
  made.push(storage);
  return { storage, root: join(server.data, path) };
}

async function errorOf(act: Promise<unknown>): Promise<BackendError> {
  const error: unknown = await act.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(BackendError);
  return error as BackendError;
}

function filesIn(root: string): string[] {
  const entries = readdirSync(root, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => entry.name);
}

/** sshd ends the old session on its own, so what it held open goes a moment later. */
async function untilFiles(root: string, wanted: readonly string[]): Promise<void> {
  for (let tries = 0; tries < 100 && filesIn(root).length !== wanted.length; tries++)
    await new Promise((resolve) => setTimeout(resolve, 20));
  expect(filesIn(root).sort()).toEqual([...wanted].sort());
}

describe("SftpStorage when the connection is cut", () => {
  it("stores nothing half in mid-put, and the next try stores it and tidies up", async (context) => {
    const { storage, root } = await make(context);
    proxy.set({ resetAfterBytes: { direction: "up", bytes: 1024 * 1024 } });
    const error = await errorOf(storage.put("data", name, [body]));
    expect(error.temporary).toBe(true);
    expect(filesIn(root)).not.toContain(name);
    expect(await storage.put("data", name, [body])).toBe("created");
    await untilFiles(root, [name]);
    expect(equalBytes((await storage.get("data", name))!, body)).toBe(true);
  });

  it("fails in mid-get, and the next try reads it whole", async (context) => {
    const { storage } = await make(context);
    await storage.put("data", name, [body]);
    proxy.set({ resetAfterBytes: { direction: "down", bytes: 1024 * 1024 } });
    expect((await errorOf(storage.get("data", name))).temporary).toBe(true);
    expect(equalBytes((await storage.get("data", name))!, body)).toBe(true);
  });

  it("fails every call that waits, and connects once for all that come after", async (context) => {
    const { storage } = await make(context);
    await storage.put("data", name, [body]);
    proxy.set({ resetAfterBytes: { direction: "down", bytes: 100_000 } });
    const calls = Array.from({ length: 8 }, () => errorOf(storage.get("data", name)));
    for (const error of await Promise.all(calls)) expect(error.temporary).toBe(true);
    const again = await Promise.all(Array.from({ length: 8 }, () => storage.stat("data", name)));
    expect(again.every((info) => info?.size === body.length)).toBe(true);
  });

  it("says so while the server is away", async (context) => {
    requires(context, hasSshd, "there is no sshd");
    await using other = await SshServer.start();
    const storage = await sftp.create(other.url("/~/repo"), other.environment());
    await other.stop();
    const error = await errorOf(storage.stat("data", name));
    expect(error.temporary).toBe(true);
    expect((await errorOf(storage.stat("data", name))).errno).toBe("ECONNREFUSED");
    await storage.close();
  });
});

describe("SftpStorage when the server falls silent", () => {
  it("gives up after its timeout, and goes on when it is back", async (context) => {
    const { storage } = await make(context, { "sftp.timeout": "1" });
    proxy.set({ isSilent: true });
    expect((await errorOf(storage.put("data", name, [body]))).temporary).toBe(true);
    proxy.set({});
    expect(await storage.put("data", name, [body])).toBe("created");
  });

  it("notices a server that is alive, but whose disk hangs", async (context) => {
    requires(context, hasSshd, "there is no sshd");
    // Greets as an SFTP server, and then never answers; sshd itself answers keepalives.
    const greeting = String.raw`printf '\000\000\000\005\002\000\000\000\003'; sleep 60`;
    await using hanging = await SshServer.start({ command: `sh -c "${greeting}"` });
    const environment = hanging.environment({ options: { "sftp.timeout": "1" } });
    const storage = await sftp.open(hanging.url("/~/repo"), environment);
    made.push(storage);
    const error = await errorOf(storage.get("config", "config"));
    expect(error.message).toContain("has not answered for 1 s");
    expect(error.temporary).toBe(true);
  });

  it("finds fault with a server that talks something else", async (context) => {
    requires(context, hasSshd, "there is no sshd");
    await using chatty = await SshServer.start({ command: "echo Welcome to this host" });
    await expect(sftp.open(chatty.url("/~/repo"), chatty.environment())).rejects.toThrow(
      "is no SFTP",
    );
  });
});

describe("SftpStorage whose caller stops", () => {
  it("stops at once in mid-put and mid-get, stores nothing, and is of use afterwards", async (context) => {
    const { storage, root } = await make(context);
    await storage.put("index", name, [body]);
    proxy.set({ isSilent: true });
    for (const act of [
      (signal: AbortSignal) => storage.put("data", name, [body], { signal }),
      (signal: AbortSignal) => storage.get("index", name, undefined, { signal }),
      (signal: AbortSignal) => storage.stat("index", name, { signal }),
      (signal: AbortSignal) => listed(storage.list("index", { signal })),
    ]) {
      const controller = new AbortController();
      const reason = new Error("stopped");
      const acting = act(controller.signal);
      setTimeout(() => {
        controller.abort(reason);
      }, 20);
      await expect(acting).rejects.toBe(reason);
    }
    proxy.cut();
    proxy.set({});
    while ((await storage.stat("index", name).catch(() => undefined)) === undefined);
    expect(filesIn(join(root, "data"))).not.toContain(name);
  });

  it("leaves the caller's memory alone after an abort", async (context) => {
    const { storage } = await make(context);
    await storage.put("data", name, [body]);
    // Opened after 200 ms, read after 400: stopped in between, when the reads are on their way.
    proxy.set({ delayMs: 100 });
    const controller = new AbortController();
    const into = new Uint8Array(new SharedArrayBuffer(body.length));
    const range = { offset: 0, length: body.length };
    const reading = storage.get("data", name, range, { into, signal: controller.signal });
    setTimeout(() => {
      controller.abort(new Error("stopped"));
    }, 300);
    await expect(reading).rejects.toThrow("stopped");
    into.fill(7);
    proxy.set({});
    expect((await storage.stat("data", name))?.size).toBe(body.length);
    await storage.get("data", name);
    expect(into.every((byte) => byte === 7)).toBe(true);
  });
});

describe("SftpStorage and the server's disk", () => {
  it("says that it is full, and keeps what was there whole", async (context) => {
    const { storage, root } = await make(context);
    const isRoot = process.getuid?.() === 0;
    requires(context, isRoot, "mounting a small disk needs root");
    const disk = join(root, "data", name.slice(0, 2));
    execFileSync("mount", ["-t", "tmpfs", "-o", "size=2m", "tmpfs", disk]);
    try {
      const error = await errorOf(storage.put("data", name, [body]));
      expect(error).toMatchObject({ errno: "ENOSPC", temporary: false });
      expect(error.hint).toContain("prune");
      await untilFiles(root, []);
    } finally {
      execFileSync("umount", ["-l", disk]);
    }
  });

  it("tells a folder that is gone, and a repository that is", async (context) => {
    const { storage, root } = await make(context);
    renameSync(join(root, "index"), join(root, "index.away"));
    expect(await errorOf(storage.put("index", name, [body]))).toMatchObject({ errno: "ENOENT" });
    expect(await errorOf(listed(storage.list("index")))).toMatchObject({ errno: "ENOENT" });
    renameSync(root, `${root}.away`);
    await expect(storage.get("data", name)).rejects.toThrow(RepositoryNotFoundError);
    await expect(storage.delete("data", name)).rejects.toThrow(RepositoryNotFoundError);
    renameSync(`${root}.away`, root);
  });

  it("removes old temporaries, and lists none", async (context) => {
    const { storage, root } = await make(context);
    writeFileSync(join(root, "data", "00", "tmp-1-2"), "left by a killed run");
    writeFileSync(join(root, "tmp-3"), "left by another");
    expect(await listed(storage.list("data"))).toEqual([]);
    expect(await storage.removeStaleTemporaries!(Date.now() - 3_600_000)).toBe(0);
    expect(await storage.removeStaleTemporaries!(Date.now() + 3_600_000)).toBe(35);
    expect(filesIn(root)).toEqual([]);
  });
});

describe("SftpStorage and its neighbours", () => {
  it("reads what was written locally, and the other way", async (context) => {
    const { storage, root } = await make(context);
    await storage.put("config", "config", [bytesOf(5)]);
    await storage.put("data", name, [body]);
    const local = await openLocalStorage(root);
    expect(equalBytes((await local.get("data", name))!, body)).toBe(true);
    expect(await local.put("index", name, [bytesOf(9)])).toBe("created");
    expect(await storage.put("index", name, [bytesOf(8)])).toBe("exists");
    expect(await storage.get("index", name)).toEqual(bytesOf(9));
    expect(await listed(local.list("data"))).toEqual(await listed(storage.list("data")));
  });

  it("opens a repository that was made locally, and refuses to make it again", async (context) => {
    requires(context, hasSshd, "there is no sshd");
    const root = join(server.data, "made-locally");
    const local = await createLocalStorage(root);
    await local.put("config", "config", [bytesOf(5)]);
    const storage = await sftp.open(server.url(root), server.environment());
    expect(await storage.get("config", "config")).toEqual(bytesOf(5));
    expect(await storage.put("data", name, [bytesOf(6)])).toBe("created");
    await storage.close();
    const config = join(server.home, "other-config");
    writeFileSync(config, `Host h\n HostName 127.0.0.1\n Port ${server.port}\n`);
    const again = sftp.create(
      `sftp:${server.user}@h:${root}`,
      server.environment({ options: { "sftp.config": config } }),
    );
    await expect(again).rejects.toThrow(RepositoryExistsError);
  });

  it("lists folders of many pages, each name once", async (context) => {
    const { storage, root } = await make(context);
    const names = Array.from({ length: 450 }, (_, n) => nameOf(bytesOf(4, n))).sort();
    for (const one of names) writeFileSync(join(root, "index", one), "x");
    expect((await listed(storage.list("index"))).map((info) => info.name)).toEqual(names);
  });

  it("lets one of two hosts put a name", async (context) => {
    const { storage } = await make(context);
    const other = await sftp.create(storage.location, server.environment());
    expect(storage.traits.conditionalPut).toBe(true);
    for (let round = 0; round < 10; round++) {
      const raced = nameOf(bytesOf(8, round));
      const answers = await Promise.all(
        [storage, other].map((one, n) => one.put("locks", raced, [bytesOf(50_000 + n)])),
      );
      expect(answers.sort()).toEqual(["created", "exists"]);
    }
    await other.close();
  });

  it("puts without links and removals where the server forbids them", async (context) => {
    requires(context, hasSshd, "there is no sshd");
    const denied = [
      "remove",
      "rmdir",
      "posix-rename",
      "setstat",
      "fsetstat",
      "hardlink",
      "symlink",
    ];
    await using restricted = await SshServer.start({ denied });
    const storage = await sftp.create(restricted.url("/~/repo"), restricted.environment());
    expect(await storage.put("data", name, [body])).toBe("created");
    expect(await storage.put("data", name, [bytesOf(3)])).toBe("exists");
    expect(equalBytes((await storage.get("data", name))!, body)).toBe(true);
    expect(await errorOf(storage.delete("data", name))).toMatchObject({ errno: "EACCES" });
    const raced = nameOf(bytesOf(9));
    const answers = await Promise.all(
      [1, 2, 3].map((seed) => storage.put("locks", raced, [bytesOf(60_000, seed)])),
    );
    expect(answers.filter((answer) => answer === "created")).toHaveLength(1);
    await storage.close();
  });

  it("says which options there are", async (context) => {
    requires(context, hasSshd, "there is no sshd");
    for (const options of [{ "sftp.connection": "1" }, { "sftp.timeout": "soon" }]) {
      const opening = sftp.open(server.url("/~/x"), server.environment({ options }));
      await expect(opening).rejects.toThrow(UsageError);
    }
  });
});
