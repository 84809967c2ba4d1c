/** LocalStorage killed at, and failed by, each of its system calls. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { createLocalStorage, LocalStorage } from "../../src/storage/index.ts";
import { buildStorage, runChild, straceRefusal } from "../support/storage-child.ts";
import { temporaryFolder } from "../support/storage-folders.ts";
import { listed, nameOf } from "./storage-contract.ts";

const bytes = new Uint8Array(300_000).fill(7);
const name = nameOf(bytes);
const refusal = straceRefusal();
if (refusal !== undefined) console.warn(`System calls are not tested: ${refusal}`);

/** Puts into an existing repository and prints what came of it. */
const putScript = (root: string): string => `
  const storage = new LocalStorage(${JSON.stringify(root)});
  const put = () => storage.put("index", "${name}", [new Uint8Array(100_000).fill(7), new Uint8Array(200_000).fill(7)]);
  try { console.log(await put(), await put(), storage.traits.conditionalPut); }
  catch (error) { console.log(error.name, error.errno, error.temporary); }`;

describe.skipIf(refusal !== undefined)("LocalStorage under strace", () => {
  let root: string;
  let built: string;

  async function prepare(): Promise<void> {
    built = temporaryFolder();
    buildStorage(built);
    root = join(temporaryFolder(), "repository");
    await createLocalStorage(root);
  }

  it("syncs the file before its name is made, and the folder after", async () => {
    await prepare();
    const log = join(built, "log");
    const run = runChild(built, putScript(root), [
      ...["-y", "-o", log, "-e", "trace=writev,pwritev,fsync,link,linkat,unlink"],
    ]);
    expect(run.stdout).toBe("created exists true\n");
    const calls = readFileSync(log, "utf8")
      .split("\n")
      .filter((line) => line.includes(root) && !line.includes("resumed"))
      .map((line) => /^\d+ +(\w+)\(/.exec(line)?.[1]);
    // Three for `created`; the last for `exists`, as whoever made it may not have come so far.
    expect(calls).toEqual(["writev", "fsync", "link", "unlink", "fsync", "fsync"]);
  });

  it.each([
    ["writev", 1, false],
    ["fsync", 1, false],
    ["link", 1, false],
    ["unlink", 1, true],
    ["fsync", 2, true],
  ])("killed at %s %i leaves all of the object or none", async (call, which, isThere) => {
    await prepare();
    const injection = `inject=${call}:signal=SIGKILL:retval=0:when=${which}`;
    const run = runChild(built, putScript(root), ["-o", "/dev/null", "-e", injection]);
    expect(run.stdout).toBe("");
    const storage = new LocalStorage(root);
    expect(await listed(storage.list("index"))).toEqual(
      isThere ? [{ name, size: bytes.length }] : [],
    );
    expect(await storage.put("index", name, [bytes])).toBe(isThere ? "exists" : "created");
    expect(nameOf((await storage.get("index", name))!)).toBe(name);
    await storage.removeStaleTemporaries(Infinity);
    expect(readdirSync(join(root, "index"))).toEqual([name]);
  });

  it.each([
    ["writev", "ENOSPC", "false"],
    ["fsync", "EIO", "false"],
    ["link", "EROFS", "false"],
    ["writev", "EDQUOT", "false"],
    ["link", "ESTALE", "true"],
  ])("leaves nothing when %s fails with %s", async (call, errno, isTemporary) => {
    await prepare();
    const injection = `inject=${call}:error=${errno}:when=1`;
    const run = runChild(built, putScript(root), ["-o", "/dev/null", "-e", injection]);
    expect(run.stdout).toBe(`BackendError ${errno} ${isTemporary}\n`);
    expect(readdirSync(join(root, "index"))).toEqual([]);
  });

  it("renames where there are no hard links, and says that puts are not conditional", async () => {
    await prepare();
    const injection = "inject=link,linkat:error=EPERM";
    const run = runChild(built, putScript(root), ["-o", "/dev/null", "-e", injection]);
    expect(run.stdout).toBe("created exists false\n");
    expect(readdirSync(join(root, "index"))).toEqual([name]);
    expect(nameOf((await new LocalStorage(root).get("index", name))!)).toBe(name);
  });
});

describe("LocalStorage of another user", () => {
  it.skipIf(process.getuid?.() !== 0)("is named as not allowed, and left as it is", async () => {
    const built = temporaryFolder();
    buildStorage(built);
    const root = join(temporaryFolder(), "repository");
    await createLocalStorage(root);
    const run = runChild(built, `process.setuid(65534);${putScript(root)}`);
    expect(run.stdout).toBe("BackendError EACCES false\n");
    expect(readdirSync(join(root, "index"))).toEqual([]);
  });
});
