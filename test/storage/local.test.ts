import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, mkdir, mkdtemp, readdir, rename, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import {
  BackendError,
  RepositoryExistsError,
  RepositoryNotFoundError,
  UsageError,
} from "../../src/errors.ts";
import {
  configName,
  createLocalStorage,
  createStorage,
  LocalStorage,
  openLocalStorage,
  openStorage,
} from "../../src/storage/index.ts";
import { nameOf, storageContract } from "./storage-contract.ts";

async function temporaryFolder(): Promise<{ path: string } & AsyncDisposable> {
  const path = await mkdtemp(join(tmpdir(), "ashlar-storage-"));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true, force: true }) };
}

storageContract(
  "LocalStorage",
  async () => {
    const folder = await temporaryFolder();
    return {
      storage: await createLocalStorage(join(folder.path, "repo")),
      cleanUp: () => folder[Symbol.asyncDispose](),
    };
  },
  { tellsTimes: true },
);

async function allFiles(root: string): Promise<string[]> {
  const entries = await readdir(root, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile()).map((entry) => entry.name);
}

describe("createLocalStorage()", () => {
  it("refuses a folder that holds a repository", async () => {
    await using folder = await temporaryFolder();
    const storage = await createLocalStorage(folder.path);
    await storage.put("config", configName, [Uint8Array.of(1)]);
    await expect(createLocalStorage(folder.path)).rejects.toThrow(RepositoryExistsError);
  });
});

describe("openLocalStorage()", () => {
  it("makes nothing where there is no repository", async () => {
    await using folder = await temporaryFolder();
    await expect(openLocalStorage(folder.path)).rejects.toThrow(RepositoryNotFoundError);
    await expect(openLocalStorage(join(folder.path, "absent", "deep"))).rejects.toThrow(
      RepositoryNotFoundError,
    );
    expect(await readdir(folder.path)).toEqual([]);
  });
});

describe("LocalStorage", () => {
  it("does not list what strangers and killed runs left behind", async () => {
    await using folder = await temporaryFolder();
    const storage = await createLocalStorage(folder.path);
    const name = nameOf(Uint8Array.of(1));
    for (const stranger of ["tmp-1-0-abc", `${name}.partial`, name.toUpperCase(), "README"]) {
      await writeFile(join(folder.path, "index", stranger), "x");
    }
    // In a shard that is not its own, an object could never be read.
    await writeFile(join(folder.path, "data", name.startsWith("00") ? "01" : "00", name), "x");
    await mkdir(join(folder.path, "snapshots", name));
    for (const kind of ["index", "data", "snapshots"] as const) {
      for await (const info of storage.list(kind)) throw new Error(`listed ${info.name}`);
    }
  });

  it("does not grow anew on the disk beneath when its mount vanishes", async () => {
    await using folder = await temporaryFolder();
    const path = join(folder.path, "repo");
    const storage = await createLocalStorage(path);
    await storage.put("config", configName, [Uint8Array.of(1)]);
    await rename(path, join(folder.path, "elsewhere"));
    await mkdir(path);
    const bytes = Uint8Array.of(1, 2, 3);
    await expect(storage.put("data", nameOf(bytes), [bytes])).rejects.toMatchObject({
      errno: "ENOENT",
    });
    await expect(storage.get("data", nameOf(bytes))).rejects.toThrow(RepositoryNotFoundError);
    expect(await readdir(path)).toEqual([]);
  });

  it("leaves nothing behind on a full disk, and works again when there is room", async (context) => {
    await using folder = await temporaryFolder();
    try {
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=2m", "tmpfs", folder.path], {
        stdio: "pipe",
      });
    } catch (error) {
      if (process.env["CI"] !== undefined) throw error;
      context.skip("mounting needs root");
    }
    try {
      const storage = await createLocalStorage(join(folder.path, "repo"));
      const large = new Uint8Array(4 * 1024 * 1024);
      const failure = await storage
        .put("data", nameOf(large), [large])
        .catch((error: unknown) => error);
      expect(failure).toBeInstanceOf(BackendError);
      expect(failure).toMatchObject({ errno: "ENOSPC", temporary: false });
      expect(await allFiles(folder.path)).toEqual([]);
      const small = new Uint8Array(100_000);
      expect(await storage.put("data", nameOf(small), [small])).toBe("created");
    } finally {
      execFileSync("umount", [folder.path]);
    }
  });

  it("says that a file system is read-only, or that this user may not write", async (context) => {
    if (process.getuid?.() === 0) context.skip("root may write anywhere");
    await using folder = await temporaryFolder();
    const storage = await createLocalStorage(folder.path);
    await chmod(join(folder.path, "index"), 0o500);
    await expect(
      storage.put("index", nameOf(Uint8Array.of(1)), [Uint8Array.of(1)]),
    ).rejects.toMatchObject({ errno: "EACCES" });
  });

  it("shows no object of a run that was killed while it stored", async () => {
    await using folder = await temporaryFolder();
    await createLocalStorage(folder.path);
    const source = `
      import { LocalStorage } from ${JSON.stringify(new URL("../../dist/storage/index.js", import.meta.url).href)};
      import { createHash } from "node:crypto";
      const storage = new LocalStorage(${JSON.stringify(folder.path)});
      console.log("ready");
      for (let n = 0; ; n++) {
        const bytes = new Uint8Array(1 << 20).fill(n);
        await storage.put("data", createHash("sha256").update(bytes).update(String(n)).digest("hex"), [bytes, Buffer.from(String(n))]);
      }`;
    for (let round = 0; round < 4; round++) {
      const child = spawn(process.execPath, ["--input-type=module", "-e", source], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      await once(child.stdout, "data");
      await new Promise((resolve) => setTimeout(resolve, 15 + 20 * round));
      child.kill("SIGKILL");
      await once(child, "exit");
    }
    const storage = new LocalStorage(folder.path);
    let count = 0;
    for await (const { name } of storage.list("data")) {
      expect(nameOf((await storage.get("data", name))!)).toBe(name);
      count++;
    }
    expect(count).toBeGreaterThan(0);
  });

  it("removes old temporaries of killed runs, and lets young ones be", async () => {
    await using folder = await temporaryFolder();
    const storage = await createLocalStorage(folder.path);
    const now = Date.now();
    const old = join(folder.path, "data", "ab", "tmp-77-0-ab");
    await writeFile(old, "12345");
    await utimes(old, new Date(now - 100_000), new Date(now - 100_000));
    await writeFile(join(folder.path, "index", "tmp-78-0-cd"), "x");
    expect(await storage.removeStaleTemporaries(now - 50_000)).toBe(5);
    expect(await allFiles(folder.path)).toEqual(["tmp-78-0-cd"]);
  });

  it("makes bytes durable before their name, and the name before it answers", async (context) => {
    await using folder = await temporaryFolder();
    const log = join(folder.path, "strace.log");
    const source = `
      import { createLocalStorage } from ${JSON.stringify(new URL("../../dist/storage/index.js", import.meta.url).href)};
      const storage = await createLocalStorage(${JSON.stringify(join(folder.path, "repo"))});
      await storage.put("data", "ab".repeat(32), [new Uint8Array(10)]);
      process.stdout.write("answered");`;
    try {
      execFileSync(
        "strace",
        [
          "-f",
          "-y",
          "-o",
          log,
          "-e",
          "trace=fsync,fdatasync,link,linkat,write",
          process.execPath,
          "--input-type=module",
          "-e",
          source,
        ],
        {
          stdio: "pipe",
          cwd: fileURLToPath(new URL("../..", import.meta.url)),
        },
      );
    } catch (error) {
      if (process.env["CI"] !== undefined) throw error;
      context.skip("strace does not run here");
    }
    const { readFile } = await import("node:fs/promises");
    const lines = (await readFile(log, "utf8")).split("\n");
    const at = (pattern: RegExp): number => lines.findIndex((line) => pattern.test(line));
    const order = [
      at(/fsync\(\d+<[^>]*tmp-/),
      at(/link(at)?\(.*tmp-.*abab/),
      lines.findLastIndex((line) => /fsync\(\d+<[^>]*data\/ab>/.test(line)),
      at(/answered/),
    ];
    expect(order.every((index) => index >= 0)).toBe(true);
    expect([...order].sort((a, b) => a - b)).toEqual(order);
  });
});

describe("openStorage()", () => {
  it.each(["b2:bucket", "ssh://user:hunter2@host/x", "https://user:hunter2@host/"])(
    "refuses %s, says what this version stores on, and shows no password",
    async (location) => {
      const refused: unknown = await openStorage(location).catch((error: unknown) => error);
      expect(refused).toBeInstanceOf(UsageError);
      const { message, hint } = refused as UsageError;
      expect(message).toContain("local file systems, and by sftp:, s3: and rest:");
      expect(`${message} ${hint}`).not.toContain("hunter2");
    },
  );

  it("takes restic's local: form", async () => {
    await using folder = await temporaryFolder();
    const storage = await createStorage(`local:${folder.path}/repo`);
    expect(storage.location).toBe(join(folder.path, "repo"));
  });
});
