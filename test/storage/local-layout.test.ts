import { mkdirSync, readdirSync, rmSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { BackendError, RepositoryExistsError, RepositoryNotFoundError } from "../../src/errors.ts";
import { createLocalStorage, LocalStorage, openLocalStorage } from "../../src/storage/index.ts";
import { temporaryFolder } from "../support/storage-folders.ts";
import { bytesOf, listed, nameOf } from "./storage-contract.ts";

const name = nameOf(bytesOf(100));

async function newStorage(): Promise<{ root: string; storage: LocalStorage }> {
  const root = join(temporaryFolder(), "repository");
  return { root, storage: await createLocalStorage(root) };
}

describe("createLocalStorage()", () => {
  it("makes every folder for its owner alone, parents too", async () => {
    const root = join(temporaryFolder(), "a", "b", "repository");
    await createLocalStorage(root);
    const folders = ["", "keys", "data", "index", "snapshots", "locks", "data/00", "data/ff"];
    for (const folder of folders) expect(statSync(join(root, folder)).mode & 0o777).toBe(0o700);
    expect(readdirSync(join(root, "data"))).toHaveLength(256);
  });

  it("refuses a folder with a config, and leaves it as it is", async () => {
    const root = temporaryFolder();
    writeFileSync(join(root, "config"), "restic's");
    await expect(createLocalStorage(root)).rejects.toThrow(RepositoryExistsError);
    expect(readdirSync(root)).toEqual(["config"]);
  });

  it("finishes what a killed init began", async () => {
    const root = temporaryFolder();
    mkdirSync(join(root, "keys"));
    const storage = await createLocalStorage(root);
    expect(await storage.put("data", name, [bytesOf(100)])).toBe("created");
  });
});

describe("openLocalStorage()", () => {
  it("never makes anything where there is no config, and thinks of a disk that is not mounted", async () => {
    const mountPoint = temporaryFolder();
    for (const path of [mountPoint, join(mountPoint, "absent", "repository")]) {
      const opening = openLocalStorage(path);
      await expect(opening).rejects.toThrow(RepositoryNotFoundError);
      await expect(opening).rejects.toHaveProperty("hint", expect.stringContaining("mounted"));
    }
    expect(readdirSync(mountPoint)).toEqual([]);
  });

  it("opens what was made", async () => {
    const { root, storage } = await newStorage();
    await storage.put("config", "config", [bytesOf(4)]);
    await storage.put("data", name, [bytesOf(100)]);
    const again = await openLocalStorage(root);
    expect(await again.get("data", name)).toEqual(bytesOf(100));
  });
});

describe("LocalStorage", () => {
  it("keeps objects where restic keeps them, unwritable, and no temporaries", async () => {
    const { root, storage } = await newStorage();
    await storage.put("config", "config", [bytesOf(4)]);
    await storage.put("data", name, [bytesOf(100)]);
    await storage.put("index", name, [bytesOf(100)]);
    expect(readdirSync(join(root, "data", name.slice(0, 2)))).toEqual([name]);
    expect(readdirSync(join(root, "index"))).toEqual([name]);
    expect(readdirSync(root)).toContain("config");
    expect(statSync(join(root, "index", name)).mode & 0o777).toBe(0o400);
  });

  it("answers `created` to one of two instances, as of two processes", async () => {
    const { root, storage } = await newStorage();
    const other = new LocalStorage(root);
    for (let round = 0; round < 20; round++) {
      const raced = nameOf(bytesOf(8, round));
      const answers = await Promise.all([
        storage.put("locks", raced, [bytesOf(1000)]),
        other.put("locks", raced, [bytesOf(1000)]),
      ]);
      expect(answers.sort()).toEqual(["created", "exists"]);
    }
    expect(readdirSync(join(root, "locks"))).toHaveLength(20);
  });

  it("lists no strangers", async () => {
    const { root, storage } = await newStorage();
    await storage.put("data", name, [bytesOf(100)]);
    const shard = join(root, "data", name.slice(0, 2));
    const otherShard = join(root, "data", name.startsWith("00") ? "01" : "00");
    writeFileSync(join(otherShard, name), "in the wrong folder");
    writeFileSync(join(shard, `${name}.part`), "");
    writeFileSync(join(shard, name.toUpperCase()), "");
    writeFileSync(join(shard, name.slice(1)), "");
    writeFileSync(join(shard, "tmp-1-1"), "");
    writeFileSync(join(root, "data", name), "");
    mkdirSync(join(shard, `${name.slice(0, 62)}zz`.replaceAll("z", "0")), { recursive: true });
    writeFileSync(join(root, "index", ".DS_Store"), "");
    expect(await listed(storage.list("data"))).toEqual([{ name, size: 100 }]);
    expect(await listed(storage.list("index"))).toEqual([]);
  });

  it("makes no folder when the repository vanishes under a run, and says what happened", async () => {
    const { root, storage } = await newStorage();
    await storage.put("data", name, [bytesOf(100)]);
    rmSync(root, { recursive: true });
    const hint: unknown = expect.stringContaining("unmounted");
    const put = storage.put("data", nameOf(bytesOf(2)), [bytesOf(2)]);
    await expect(put).rejects.toMatchObject({ errno: "ENOENT", temporary: false, hint });
    await expect(put).rejects.toThrow(BackendError);
    await expect(storage.get("data", name)).rejects.toMatchObject({ exitCode: 10, hint });
    await expect(storage.stat("data", name)).rejects.toThrow(RepositoryNotFoundError);
    await expect(storage.delete("data", name)).rejects.toThrow(RepositoryNotFoundError);
    await expect(listed(storage.list("data"))).rejects.toMatchObject({ errno: "ENOENT", hint });
    expect(() => statSync(root)).toThrow("ENOENT");
  });

  it("removes stale temporaries everywhere, and neither young ones nor objects", async () => {
    const { root, storage } = await newStorage();
    await storage.put("data", name, [bytesOf(100)]);
    const day = 24 * 3600;
    const stale = ["tmp-1-1", "data/ab/tmp-7-0", "locks/tmp-7-1"].map((path) => join(root, path));
    for (const path of stale) {
      writeFileSync(path, "12345", { mode: 0o400 });
      utimesSync(path, day, day);
    }
    utimesSync(join(root, "data", name.slice(0, 2), name), day, day);
    const young = join(root, "index", "tmp-8-0");
    writeFileSync(young, "12345");
    utimesSync(young, 3 * day, 3 * day);
    expect(await storage.removeStaleTemporaries(2 * day * 1000)).toBe(15);
    expect(await storage.removeStaleTemporaries(2 * day * 1000)).toBe(0);
    for (const path of stale) expect(() => statSync(path)).toThrow("ENOENT");
    expect(readdirSync(join(root, "index"))).toEqual(["tmp-8-0"]);
    expect(await storage.get("data", name)).toEqual(bytesOf(100));
  });

  it("passes over a temporary that a killed run with the same process id left", async () => {
    const { root, storage } = await newStorage();
    for (let n = 0; n < 3; n++)
      writeFileSync(join(root, "index", `tmp-${process.pid}-${n}`), "old");
    expect(await storage.put("index", name, [bytesOf(100)])).toBe("created");
    expect(await storage.get("index", name)).toEqual(bytesOf(100));
    expect(readdirSync(join(root, "index"))).toHaveLength(4);
  });

  it("leaves nothing when the caller stops amid a put", async () => {
    const { root, storage } = await newStorage();
    const stop = new AbortController();
    const reason = new Error("stopped");
    const part = bytesOf(16 * 1024 * 1024);
    const put = storage.put("index", name, [part, part, part, part], { signal: stop.signal });
    setImmediate(() => {
      stop.abort(reason);
    });
    await expect(put).rejects.toBe(reason);
    expect(readdirSync(join(root, "index"))).toEqual([]);
  });
});
